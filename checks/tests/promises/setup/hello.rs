use opentelemetry::{global, trace::Tracer};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .build();
    global::set_tracer_provider(provider.clone());

    global::tracer("my-service").in_span("hello", |_| { /* your program */ });

    // Without this the last spans are lost.
    provider.shutdown()?;
    Ok(())
}
