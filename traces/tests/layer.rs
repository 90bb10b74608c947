//! `tracing` spans and events of other crates in the recorder's buffers.

use tracing_subscriber::layer::SubscriberExt as _;

use traces::layer::RecordLayer;
use traces::record::{self, Category, Config, Event, Kind, Value};

#[test]
fn spans_and_events_of_other_crates_are_recorded_with_their_numbers() {
    record::start(Config { per_thread: 1024 });
    let subscriber = tracing_subscriber::registry().with(RecordLayer);
    tracing::subscriber::with_default(subscriber, || {
        let outer =
            tracing::info_span!("attn", layer = 3_u64, shift = -1_i64, late = tracing::field::Empty, text = "no");
        outer.in_scope(|| {
            outer.record("late", 0.5);
            tracing::info_span!("softmax").in_scope(|| tracing::warn!(tokens = 7_u64, "context is {}", "short"));
        });
        outer.in_scope(|| tracing::info!(ready = true));
        record::stop();
        tracing::info_span!("off").in_scope(|| tracing::info!("off"));
    });
    let batch = record::drain();
    let find = |name: &str| -> Vec<&Event> { batch.events.iter().filter(|event| event.name == name).collect() };
    assert!(batch.events.iter().all(|event| event.category == Category::Foreign));

    let [first, second] = find("attn")[..] else {
        panic!("a span that is entered twice is recorded twice: {batch:#?}")
    };
    assert!(first.end() <= second.start);
    let args: Vec<_> = first.args.iter().collect();
    assert_eq!(args, [("layer", Value::Unsigned(3)), ("shift", Value::Signed(-1)), ("late", Value::Float(0.5))]);
    let [softmax] = find("softmax")[..] else { panic!("{batch:#?}") };
    assert!(first.start <= softmax.start && softmax.end() <= first.end());

    let [message] = find("context is short")[..] else { panic!("a message is the event's name: {batch:#?}") };
    assert_eq!((message.kind, message.args.get("tokens")), (Kind::Instant, Some(Value::Unsigned(7))));
    let nameless: Vec<_> = batch.events.iter().filter(|event| event.args.get("ready").is_some()).collect();
    assert!(matches!(nameless[..], [event] if event.name.starts_with("event ")));
    assert_eq!(batch.events.len(), 5);
}
