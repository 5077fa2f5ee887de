// Settings for everything that can send, with real addresses. Nothing here touches the page.

/** For every SDK, from a shell: `{ title, text }`. */
export function environment({ grpc, http, jaeger }) {
  const otlp = (protocol, endpoint) =>
    exported("OTEL_SERVICE_NAME=my-service", "OTEL_TRACES_EXPORTER=otlp", "OTEL_LOGS_EXPORTER=otlp", `OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}`, `OTEL_EXPORTER_OTLP_ENDPOINT=${endpoint}`);
  return [
    { title: "OTLP over gRPC", text: otlp("grpc", grpc) },
    { title: "OTLP over HTTP, protobuf", text: otlp("http/protobuf", http) },
    { title: "OTLP over HTTP, JSON", text: otlp("http/json", http) },
    {
      title: "Jaeger clients, thrift over HTTP",
      text: exported("JAEGER_SERVICE_NAME=my-service", `JAEGER_ENDPOINT=${jaeger}/api/traces`, "JAEGER_SAMPLER_TYPE=const", "JAEGER_SAMPLER_PARAM=1"),
    },
  ];
}

/** `{ name, snippets }` in the order of the tabs. Every text is whole: a new project needs no more. */
export function languages({ grpc, http, hostPort }) {
  // Without the first, an agent for everything asks us to take metrics as well.
  const noMetrics = "OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=otlp \\";
  const overGrpc = ["OTEL_SERVICE_NAME=my-service \\", `OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=${grpc} \\`];
  const overHttp = ["OTEL_SERVICE_NAME=my-service \\", `OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=${http} \\`];
  return [
    {
      name: "Rust",
      snippets: [
        {
          title: "Cargo.toml, under [dependencies]",
          text: lines(
            'opentelemetry = "0.32"',
            'opentelemetry_sdk = "0.32"',
            'opentelemetry-otlp = { version = "0.32", features = ["grpc-tonic"] }',
            'tokio = { version = "1", features = ["macros", "rt-multi-thread"] }',
          ),
        },
        {
          title: "src/main.rs",
          text: lines(
            "use opentelemetry::{global, trace::Tracer};",
            "use opentelemetry_otlp::SpanExporter;",
            "use opentelemetry_sdk::trace::SdkTracerProvider;",
            "",
            "#[tokio::main]",
            "async fn main() -> Result<(), Box<dyn std::error::Error>> {",
            "    let exporter = SpanExporter::builder().with_tonic().build()?;",
            "    let provider = SdkTracerProvider::builder()",
            "        .with_batch_exporter(exporter)",
            "        .build();",
            "    global::set_tracer_provider(provider.clone());",
            "",
            '    global::tracer("my-service").in_span("hello", |_| { /* your program */ });',
            "",
            "    // Without this the last spans are lost.",
            "    provider.shutdown()?;",
            "    Ok(())",
            "}",
          ),
        },
        { title: "Shell", text: lines(...overGrpc, "cargo run") },
      ],
    },
    {
      name: "Node.js",
      snippets: [
        {
          title: "Shell, no change of the program",
          text: lines(
            "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node",
            "",
            ...overHttp,
            noMetrics,
            "node --require @opentelemetry/auto-instrumentations-node/register app.js",
          ),
        },
      ],
    },
    {
      name: "Python",
      snippets: [
        {
          title: "Shell, no change of the program",
          text: lines(
            "pip install opentelemetry-distro opentelemetry-exporter-otlp",
            "opentelemetry-bootstrap --action=install",
            "",
            ...overGrpc,
            noMetrics,
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED=true \\",
            "opentelemetry-instrument python app.py",
          ),
        },
      ],
    },
    {
      name: "Java",
      snippets: [
        {
          title: "Shell, no change of the program",
          text: lines(
            "curl -LO https://github.com/open-telemetry/opentelemetry-java-instrumentation/releases/latest/download/opentelemetry-javaagent.jar",
            "",
            ...overHttp,
            noMetrics,
            "java -javaagent:opentelemetry-javaagent.jar -jar app.jar",
          ),
        },
      ],
    },
    {
      name: "Go",
      snippets: [
        {
          title: "main.go",
          text: lines(
            "package main",
            "",
            "import (",
            '\t"context"',
            '\t"log"',
            "",
            '\t"go.opentelemetry.io/otel"',
            '\t"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"',
            '\tsdktrace "go.opentelemetry.io/otel/sdk/trace"',
            ")",
            "",
            "func main() {",
            "\tctx := context.Background()",
            "\texporter, err := otlptracehttp.New(ctx)",
            "\tif err != nil {",
            "\t\tlog.Fatal(err)",
            "\t}",
            "\tprovider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))",
            "\t// Without this the last spans are lost.",
            "\tdefer provider.Shutdown(ctx)",
            "\totel.SetTracerProvider(provider)",
            "",
            '\t_, span := otel.Tracer("my-service").Start(ctx, "hello")',
            "\tspan.End()",
            "}",
          ),
        },
        { title: "Shell", text: lines("go mod tidy", "", `OTEL_SERVICE_NAME=my-service OTEL_EXPORTER_OTLP_ENDPOINT=${http} go run .`) },
      ],
    },
    {
      name: ".NET",
      snippets: [
        {
          title: "Program.cs of an ASP.NET Core project",
          text: lines(
            "using OpenTelemetry.Trace;",
            "",
            "var builder = WebApplication.CreateBuilder(args);",
            "builder.Services.AddOpenTelemetry().WithTracing(tracing => tracing",
            "    .AddAspNetCoreInstrumentation()",
            "    .AddHttpClientInstrumentation()",
            "    .AddOtlpExporter());",
            "",
            "var app = builder.Build();",
            'app.MapGet("/", () => "hello");',
            "app.Run();",
          ),
        },
        {
          title: "Shell",
          text: lines(
            "dotnet add package OpenTelemetry.Extensions.Hosting",
            "dotnet add package OpenTelemetry.Exporter.OpenTelemetryProtocol",
            "dotnet add package OpenTelemetry.Instrumentation.AspNetCore",
            "dotnet add package OpenTelemetry.Instrumentation.Http",
            "",
            ...overGrpc,
            "dotnet run",
          ),
        },
      ],
    },
    {
      name: "Collector",
      snippets: [
        {
          title: "tracestore.yaml, beside a config.yaml with a receiver named otlp",
          text: lines(
            "exporters:",
            "  # Before 0.144 it was named otlp.",
            "  otlp_grpc/tracestore:",
            `    endpoint: ${hostPort}`,
            "    tls:",
            "      insecure: true",
            "",
            "service:",
            "  pipelines:",
            "    traces/tracestore:",
            "      receivers: [otlp]",
            "      exporters: [otlp_grpc/tracestore]",
            "    logs/tracestore:",
            "      receivers: [otlp]",
            "      exporters: [otlp_grpc/tracestore]",
          ),
        },
        { title: "Shell", text: "otelcol --config config.yaml --config tracestore.yaml" },
      ],
    },
  ];
}

/** A command that sends a span of 250 ms with new ids; a POSIX shell with curl has all that it needs. */
export function oneSpan({ http }) {
  const id = (bytes) => `'$(od -An -N${bytes} -tx1 /dev/urandom | tr -d ' \\n')'`;
  const now = "'$(date +%s)'";
  const span = `{"traceId":"${id(16)}","spanId":"${id(8)}","name":"hello","kind":1,"startTimeUnixNano":"${now}000000000","endTimeUnixNano":"${now}250000000"}`;
  const body = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"curl"}}]},"scopeSpans":[{"spans":[${span}]}]}]}`;
  return { title: "Shell", text: `curl -sS ${http}/v1/traces -H 'content-type: application/json' -d '${body}'` };
}

// A variable that is only set, is not there for the programs that the shell starts.
function exported(...all) {
  return lines(...all.map((variable) => `export ${variable}`));
}

function lines(...all) {
  return all.join("\n");
}
