//! Settings, and whatever a collector answers. What needs a network that fails is in `tests/transport`.

mod hostile;
mod settings;

use crate::Protocol;

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];
