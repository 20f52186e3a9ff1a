//! One JSON object per line on standard output (contract §14.3).
//!
//! `tracing_subscriber::fmt`'s own JSON format (0.3.23, with `flatten_event`) cannot give these
//! members: it calls the time `timestamp`, nests the fields of the span of a request under `span`,
//! so that `correlation_id` is not a member of the line, and shows errors without their sources.

use std::fmt;
use std::io::{self, Write};

use coredock_domain::Clock;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogConfig;
use crate::system::SystemClock;

/// Sends events to standard output from now on. Has no effect if logging is set up already.
pub fn start(config: &LogConfig) {
    // Below warnings, libraries log details of their own work; actix_http logs errors of clients.
    let filter = EnvFilter::new(format!(
        "warn,actix_http=off,coredock={level},coredock_domain={level},coredock_repository={level},\
         coredock_artifact_store={level},coredock_symbolizer_native={level},\
         coredock_symbolizer_sidecar={level},audit={level}",
        level = config.level
    ));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if config.json {
        registry.with(JsonLines).try_init()
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_target(true)).try_init()
    };
    drop(started);
}

/// Writes events as JSON lines; the correlation id of the request comes from its span.
struct JsonLines;

/// Stored in the extensions of the span of a request.
struct CorrelationId(Value);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(correlation_id), Some(span)) =
            (fields.0.remove("correlation_id"), context.span(id))
        {
            span.extensions_mut().insert(CorrelationId(correlation_id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Map::new();
        line.insert("time".into(), SystemClock.now().to_string().into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        line.insert("message".into(), fields.0.remove("message").unwrap_or_default());
        let spans = context.event_scope(event).into_iter().flatten();
        for span in spans {
            if let Some(CorrelationId(id)) = span.extensions().get() {
                line.insert("correlation_id".into(), id.clone());
                break;
            }
        }
        line.append(&mut fields.0);
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // A failure to write a log line cannot be reported either.
        drop(io::stdout().lock().write_all(text.as_bytes()));
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    /// `Display` does not repeat the source of an error, so the whole chain is shown here.
    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        self.insert(field, chain(error));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

/// An error and its sources, on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
