//! [`RecordLayer`]: records the spans and events that other crates emit through `tracing`.
//!
//! Each time that a thread enters and exits a span becomes one complete span of this thread; an event becomes an instant. The
//! first three numbers and booleans among the fields become values. Of the other fields of an event only the message is kept,
//! as its name. The number of values per span, the depth per thread, the texts and their lengths are bounded.
//!
//! Use it for the few, slow spans of other crates. The subscriber's registry costs some 200 ns per span and each name a
//! look-up, so this project marks its own spans with [`op!`](crate::op) and [`span!`](crate::span).

use std::cell::RefCell;
use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::record::{self, Category, Complete, Value};
use crate::{Nanos, clock};

/// The deepest nesting of entered spans per thread; deeper ones are not recorded, and viewers do not show them either.
const MAX_DEPTH: usize = 512;
/// Messages are truncated to this length in characters.
const MAX_MESSAGE_CHARS: usize = 120;

thread_local! {
    /// The spans that this thread has entered, with their start.
    static ENTERED: RefCell<Vec<(u64, Nanos)>> = const { RefCell::new(Vec::new()) };
}

/// A `tracing_subscriber` layer that records into the recorder. It does nothing while the recorder is off, and it does not
/// hide spans from other layers.
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
/// let subscriber = tracing_subscriber::registry().with(traces::layer::RecordLayer);
/// # drop(subscriber);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordLayer;

/// The numeric fields of a span.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    fields: [Option<(&'static str, Value)>; 3],
}

impl Numbers {
    /// Sets a field; a fourth field is dropped.
    fn put(&mut self, key: &'static str, value: Value) {
        let place = self.fields.iter().position(|field| field.is_none_or(|(known, _)| known == key));
        if let Some(slot) = place.and_then(|place| self.fields.get_mut(place)) {
            *slot = Some((key, value));
        }
    }
}

impl Visit for Numbers {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Value::from(value));
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

/// The numeric fields and the message of an event.
#[derive(Debug, Default)]
struct EventFields {
    numbers: Numbers,
    message: Option<String>,
}

impl Visit for EventFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.record_u64(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.numbers.record_i64(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.numbers.record_f64(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.numbers.record_bool(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let text = format!("{value:?}");
            let end = text.char_indices().nth(MAX_MESSAGE_CHARS).map_or(text.len(), |(end, _)| end);
            self.message = Some(text[..end].trim_end().to_owned());
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RecordLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut numbers = Numbers::default();
            attributes.record(&mut numbers);
            span.extensions_mut().replace(numbers);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(numbers) = span.extensions_mut().get_mut::<Numbers>()
        {
            values.record(numbers);
        }
    }

    fn on_enter(&self, id: &Id, _context: Context<'_, S>) {
        if record::is_on() {
            // A thread whose thread-locals are destroyed is ending; its spans are not recorded.
            let _ = ENTERED.try_with(|entered| {
                let mut entered = entered.borrow_mut();
                if entered.len() < MAX_DEPTH {
                    entered.push((id.into_u64(), clock::now()));
                }
            });
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let times = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let place = entered.iter().rposition(|&(entered, _)| entered == id.into_u64())?;
            let end = clock::now();
            let (_, start) = entered.remove(place);
            Some((start, end.saturating_sub(start)))
        });
        if let (Ok(Some((start, duration))), Some(span)) = (times, context.span(id)) {
            let mut complete = Complete::span(span.name(), Category::Foreign, start, duration);
            if let Some(numbers) = span.extensions().get::<Numbers>() {
                for &(key, value) in numbers.fields.iter().flatten() {
                    complete = complete.arg(key, value);
                }
            }
            record::emit(complete);
        }
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if record::is_on() {
            let mut fields = EventFields::default();
            event.record(&mut fields);
            let numbers: Vec<_> = fields.numbers.fields.into_iter().flatten().collect();
            let name = fields.message.as_deref().filter(|message| !message.is_empty());
            record::instant(name.unwrap_or(event.metadata().name()), Category::Foreign, &numbers);
        }
    }
}
