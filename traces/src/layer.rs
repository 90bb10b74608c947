//! [`RecordLayer`]: what other crates emit through `tracing` goes into the recorder's buffers.
//!
//! A stay in a span becomes a complete span of the thread that was in it, an event an instant. Numbers and booleans among
//! the fields become numeric values, the first three of them; of an event's other fields only the message is kept, as its
//! name. Everything is bounded: values per span, depth per thread, texts and their lengths.
//!
//! It is for the few and slow spans of others. The registry beneath it costs some 200 ns per span by itself and every use
//! of a name a look-up, so this project's own marks are [`op!`](crate::op) and [`span!`](crate::span).

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

/// Spans that a thread can be in at once; deeper ones are not recorded. Viewers show no more either.
const DEPTH: usize = 512;
/// A message is cut at this length, in characters.
const MESSAGE: usize = 120;

thread_local! {
    /// The spans that this thread is in, and since when.
    static ENTERED: RefCell<Vec<(u64, Nanos)>> = const { RefCell::new(Vec::new()) };
}

/// A `tracing_subscriber` layer in front of the recorder. While the recorder is off it does nothing, and it never keeps
/// spans from other layers.
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
    /// A field that is given again replaces itself; the fourth is left out.
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

/// An event's numbers and message.
#[derive(Debug, Default)]
struct Happening {
    numbers: Numbers,
    message: Option<String>,
}

impl Visit for Happening {
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
            let end = text.char_indices().nth(MESSAGE).map_or(text.len(), |(end, _)| end);
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
            // A thread that is ending has no place for it.
            let _ = ENTERED.try_with(|entered| {
                let mut entered = entered.borrow_mut();
                if entered.len() < DEPTH {
                    entered.push((id.into_u64(), clock::now()));
                }
            });
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let stay = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let place = entered.iter().rposition(|&(entered, _)| entered == id.into_u64())?;
            let end = clock::now();
            let (_, start) = entered.remove(place);
            Some((start, end.saturating_sub(start)))
        });
        if let (Ok(Some((start, duration))), Some(span)) = (stay, context.span(id)) {
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
            let mut happening = Happening::default();
            event.record(&mut happening);
            let numbers: Vec<_> = happening.numbers.fields.into_iter().flatten().collect();
            let name = happening.message.as_deref().filter(|message| !message.is_empty());
            record::instant(name.unwrap_or(event.metadata().name()), Category::Foreign, &numbers);
        }
    }
}
