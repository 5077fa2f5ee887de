//! What a production service links: one initialization from `OTEL_*`, one guard whose shutdown flushes, and layers
//! that trace and measure requests.
