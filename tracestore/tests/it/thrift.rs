//! Writes thrift's binary protocol, and with it what clients of Jaeger send.
//!
//! <https://github.com/jaegertracing/jaeger-idl/blob/main/thrift/jaeger.thrift>

/// A struct that is being written.
#[derive(Clone, Default)]
pub(crate) struct Struct(Vec<u8>);

impl Struct {
    fn field(mut self, kind: u8, id: i16, value: &[u8]) -> Struct {
        self.0.push(kind);
        self.0.extend(id.to_be_bytes());
        self.0.extend(value);
        self
    }

    pub(crate) fn bool(self, id: i16, value: bool) -> Struct {
        self.field(2, id, &[value.into()])
    }

    pub(crate) fn double(self, id: i16, value: f64) -> Struct {
        self.field(4, id, &value.to_be_bytes())
    }

    pub(crate) fn i32(self, id: i16, value: i32) -> Struct {
        self.field(8, id, &value.to_be_bytes())
    }

    pub(crate) fn i64(self, id: i16, value: i64) -> Struct {
        self.field(10, id, &value.to_be_bytes())
    }

    pub(crate) fn bytes(self, id: i16, value: &[u8]) -> Struct {
        let length = i32::try_from(value.len()).unwrap().to_be_bytes();
        self.field(11, id, &[&length[..], value].concat())
    }

    pub(crate) fn text(self, id: i16, value: &str) -> Struct {
        self.bytes(id, value.as_bytes())
    }

    pub(crate) fn inner(self, id: i16, value: Struct) -> Struct {
        self.field(12, id, &value.end())
    }

    pub(crate) fn list(self, id: i16, values: Vec<Struct>) -> Struct {
        let count = i32::try_from(values.len()).unwrap().to_be_bytes();
        let mut list = [&[12], &count[..]].concat();
        for value in values {
            list.extend(value.end());
        }
        self.field(15, id, &list)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.push(0);
        self.0
    }
}

pub(crate) fn text_tag(key: &str, value: &str) -> Struct {
    Struct::default().text(1, key).i32(2, 0).text(3, value)
}

pub(crate) fn double_tag(key: &str, value: f64) -> Struct {
    Struct::default().text(1, key).i32(2, 1).double(4, value)
}

pub(crate) fn bool_tag(key: &str, value: bool) -> Struct {
    Struct::default().text(1, key).i32(2, 2).bool(5, value)
}

pub(crate) fn long_tag(key: &str, value: i64) -> Struct {
    Struct::default().text(1, key).i32(2, 3).i64(6, value)
}

pub(crate) fn binary_tag(key: &str, value: &[u8]) -> Struct {
    Struct::default().text(1, key).i32(2, 4).bytes(7, value)
}

pub(crate) fn log(microseconds: i64, fields: Vec<Struct>) -> Struct {
    Struct::default().i64(1, microseconds).list(2, fields)
}

/// `follows` or is a child of the span.
pub(crate) fn reference(follows: bool, (high, low): (i64, i64), span: i64) -> Struct {
    let reference = Struct::default().i32(1, follows.into());
    reference.i64(2, low).i64(3, high).i64(4, span)
}

/// What every span needs; lists may follow.
pub(crate) struct Required<'a> {
    /// High and low half.
    pub(crate) trace: (i64, i64),
    pub(crate) span: i64,
    pub(crate) parent: i64,
    pub(crate) name: &'a str,
    /// Microseconds.
    pub(crate) start: i64,
    pub(crate) duration: i64,
}

pub(crate) fn span(required: Required<'_>) -> Struct {
    Struct::default()
        .i64(1, required.trace.1)
        .i64(2, required.trace.0)
        .i64(3, required.span)
        .i64(4, required.parent)
        .text(5, required.name)
        .i32(7, 1)
        .i64(8, required.start)
        .i64(9, required.duration)
}

pub(crate) fn batch_of(service: &str, tags: Vec<Struct>, spans: Vec<Struct>) -> Vec<u8> {
    let process = Struct::default().text(1, service).list(2, tags);
    Struct::default().inner(1, process).list(2, spans).end()
}
