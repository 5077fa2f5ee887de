// Settings for everything that can send, with real addresses. Nothing here touches the page.

/** For every SDK: `{ title, text }`. */
export function environment({ grpc, http, jaeger }) {
  return [
    { title: "OTLP over gRPC", text: lines("OTEL_SERVICE_NAME=my-service", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", `OTEL_EXPORTER_OTLP_ENDPOINT=${grpc}`) },
    { title: "OTLP over HTTP, protobuf", text: lines("OTEL_SERVICE_NAME=my-service", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", `OTEL_EXPORTER_OTLP_ENDPOINT=${http}`) },
    { title: "OTLP over HTTP, JSON", text: lines("OTEL_SERVICE_NAME=my-service", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json", `OTEL_EXPORTER_OTLP_ENDPOINT=${http}`) },
    { title: "Jaeger clients, thrift over HTTP", text: lines("JAEGER_SERVICE_NAME=my-service", `JAEGER_ENDPOINT=${jaeger}/api/traces`, "JAEGER_SAMPLER_TYPE=const", "JAEGER_SAMPLER_PARAM=1") },
  ];
}

/** `{ name, snippets }` in the order of the tabs. */
export function languages({ grpc, http, hostPort }) {
  return [
    {
      name: "Rust",
      snippets: [
        { title: "Cargo.toml", text: lines('opentelemetry = "0.32"', 'opentelemetry_sdk = "0.32"', 'opentelemetry-otlp = { version = "0.32", features = ["grpc-tonic"] }') },
        {
          title: "main.rs",
          text: lines(
            "use opentelemetry::global;",
            "use opentelemetry_otlp::{SpanExporter, WithExportConfig};",
            "use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};",
            "",
            "// In a Tokio runtime, which the exporter needs.",
            `let exporter = SpanExporter::builder().with_tonic().with_endpoint("${grpc}").build()?;`,
            "let provider = SdkTracerProvider::builder()",
            "    .with_batch_exporter(exporter)",
            '    .with_resource(Resource::builder().with_service_name("my-service").build())',
            "    .build();",
            "global::set_tracer_provider(provider.clone());",
            "",
            "// Before the process ends, or the last spans are lost:",
            "provider.shutdown()?;",
          ),
        },
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
            "OTEL_SERVICE_NAME=my-service \\",
            "OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none \\",
            `OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=${http} \\`,
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
            "OTEL_SERVICE_NAME=my-service \\",
            "OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none \\",
            `OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=${grpc} \\`,
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
            "OTEL_SERVICE_NAME=my-service \\",
            "OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none \\",
            `OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=${http} \\`,
            "java -javaagent:opentelemetry-javaagent.jar -jar app.jar",
          ),
        },
      ],
    },
    {
      name: "Go",
      snippets: [
        { title: "Shell", text: "go get go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp" },
        {
          title: "main.go",
          text: lines(
            `exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL("${http}/v1/traces"))`,
            "if err != nil {",
            "\tlog.Fatal(err)",
            "}",
            "provider := sdktrace.NewTracerProvider(",
            "\tsdktrace.WithBatcher(exporter),",
            '\tsdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "my-service"))),',
            ")",
            "defer provider.Shutdown(ctx)",
            "otel.SetTracerProvider(provider)",
          ),
        },
      ],
    },
    {
      name: ".NET",
      snippets: [
        {
          title: "Shell",
          text: lines(
            "dotnet add package OpenTelemetry.Extensions.Hosting",
            "dotnet add package OpenTelemetry.Exporter.OpenTelemetryProtocol",
            "dotnet add package OpenTelemetry.Instrumentation.AspNetCore",
            "dotnet add package OpenTelemetry.Instrumentation.Http",
          ),
        },
        {
          title: "Program.cs",
          text: lines(
            "builder.Services.AddOpenTelemetry()",
            '    .ConfigureResource(resource => resource.AddService("my-service"))',
            "    .WithTracing(tracing => tracing",
            "        .AddAspNetCoreInstrumentation()",
            "        .AddHttpClientInstrumentation()",
            `        .AddOtlpExporter(options => options.Endpoint = new Uri("${grpc}")));`,
          ),
        },
      ],
    },
    {
      name: "Collector",
      snippets: [
        {
          title: "config.yaml, beside what is there",
          text: lines(
            "exporters:",
            "  otlp/tracestore:",
            `    endpoint: ${hostPort}`,
            "    tls:",
            "      insecure: true",
            "",
            "service:",
            "  pipelines:",
            "    traces:",
            "      receivers: [otlp]",
            "      exporters: [otlp/tracestore]",
          ),
        },
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

function lines(...all) {
  return all.join("\n");
}
