//! Reads an OTLP `ExportTraceServiceRequest` or `ExportLogsServiceRequest` in JSON, element by element, into spans or
//! log records.
//!
//! By <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, and tolerant where
//! senders differ: ids in either case, numbers as numbers or strings, names for enumerators, names
//! of fields as protobuf has them, base64 with either alphabet, integers that are too large for 64
//! bits, and what JavaScript writes of a text that was cut within a character. `null` is absent. Of
//! a field that comes twice, the last one counts, but lists are joined.

mod groups;
mod logs;
mod messages;

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref, str};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::build::{
    Builder, Capped, Decoded, DecodedLogs, Id, LogDraft, Refused, SpanDraft, TooLarge,
};

/// Bytes kept of what the parser says, which quotes strings whole.
const MAX_MESSAGE_BYTES: usize = 200;

/// Reads a whole request. An empty one may be of no bytes at all, as in protobuf.
///
/// # Errors
/// All or nothing, but for spans with bad ids, which are counted in `Decoded::rejected`.
pub(crate) fn decode(request: &[u8]) -> Result<Decoded<'_>, Refused> {
    let read = read::<groups::Request<SpanDraft<'_>>>(request);
    let read = read.map_err(|refused| refused.of("ExportTraceServiceRequest in JSON"));
    Ok(read?.finish())
}

/// Reads a whole request. An empty one may be of no bytes at all, as in protobuf.
///
/// # Errors
/// All or nothing, but for records that are too large, which are counted in
/// `DecodedLogs::rejected`, and for ids.
pub(crate) fn decode_logs(request: &[u8]) -> Result<DecodedLogs<'_>, Refused> {
    let read = read::<groups::Request<LogDraft<'_>>>(request);
    let read = read.map_err(|refused| refused.of("ExportLogsServiceRequest in JSON"));
    Ok(read?.finish_logs()?)
}

fn read<'de, T: Record<'de>>(request: &'de [u8]) -> Result<Builder<'de>, Refused> {
    let mut reader = Reader {
        builder: Builder::new(request.len()),
        depth: 0,
        too_large: None,
    };
    if request.is_empty() {
        return Ok(reader.builder);
    }
    let mut json = serde_json::Deserializer::from_slice(request);
    // Of what is read, only values nest without bound, and `AnyValue` counts. What is skipped, is
    // skipped without recursion.
    json.disable_recursion_limit();
    let read = Object::<T>::new(&mut reader)
        .deserialize(&mut json)
        .and_then(|_| json.end());
    match (read, reader.too_large) {
        (_, Some(too_large)) => Err(too_large.into()),
        (Err(error), None) => {
            let error = error.to_string();
            let shown = &error[..error.floor_char_boundary(MAX_MESSAGE_BYTES)];
            Err(Refused::Malformed(shown.to_owned()))
        }
        (Ok(()), None) => Ok(reader.builder),
    }
}

/// What is known while a request is read.
struct Reader<'de> {
    builder: Builder<'de>,
    /// Of the value that is being read.
    depth: usize,
    /// Set before the error that ends the reading, since serde's carry only text.
    too_large: Option<TooLarge>,
}

impl<'de> Reader<'de> {
    /// `None` ends the reading.
    fn or_end<T>(&mut self, result: Result<T, TooLarge>) -> Option<T> {
        result
            .map_err(|too_large| self.too_large = Some(too_large))
            .ok()
    }
}

/// An object whose fields are known.
trait Record<'de>: Default {
    /// Reads the value of one field, or skips it.
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error>;
}

/// A record that stands in a list.
trait Element<'de>: Record<'de> {
    /// What the list becomes.
    type List;

    /// Charges for an element before it is read, without what it points to.
    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge>;

    /// Whether the next element is to be skipped.
    fn is_full(_list: &Self::List) -> bool {
        false
    }

    /// Counts an element that was skipped.
    fn skipped(_list: &mut Self::List) {}

    fn add_to(self, list: &mut Self::List, reader: &mut Reader<'de>);
}

/// Reads one object, or `null`.
struct Object<'r, 'de, T> {
    reader: &'r mut Reader<'de>,
    record: PhantomData<T>,
}

impl<'r, 'de, T> Object<'r, 'de, T> {
    fn new(reader: &'r mut Reader<'de>) -> Object<'r, 'de, T> {
        Object {
            reader,
            record: PhantomData,
        }
    }
}

impl<'de, T: Record<'de>> DeserializeSeed<'de> for Object<'_, 'de, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Record<'de>> Visitor<'de> for Object<'_, 'de, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<T>, A::Error> {
        let mut record = T::default();
        while let Some(Name(name)) = map.next_key()? {
            record.field(&name, &mut map, self.reader)?;
        }
        Ok(Some(record))
    }
}

/// Of a field; borrowed unless it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one array, or `null`, into a list. An element that is `null` is an empty one.
struct Array<'r, 'de, T: Element<'de>> {
    list: &'r mut T::List,
    reader: &'r mut Reader<'de>,
}

impl<'de, T: Element<'de>> DeserializeSeed<'de> for Array<'_, 'de, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

/// Reads one element of an array, which is charged for if it is there.
struct Member<'r, 'de, T: Element<'de>>(Array<'r, 'de, T>);

impl<'de, T: Element<'de>> DeserializeSeed<'de> for Member<'_, 'de, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Array { list, reader } = self.0;
        let charged = T::make_room(list, &mut reader.builder);
        if reader.or_end(charged).is_none() {
            return Err(D::Error::custom("too large"));
        }
        let element = Object::<T>::new(reader).deserialize(json)?;
        element.unwrap_or_default().add_to(list, reader);
        Ok(())
    }
}

impl<'de, T: Element<'de>> Visitor<'de> for Array<'_, 'de, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        loop {
            if T::is_full(self.list) {
                if elements.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
                T::skipped(self.list);
                continue;
            }
            let member = Member::<T>(Array {
                list: self.list,
                reader: self.reader,
            });
            if elements.next_element_seed(member)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// What is neither an object nor an array.
enum Scalar<'de, 's> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Text<'de, 's>),
}

/// A string, as it stands in the request or without its escapes.
#[derive(Clone, Copy)]
enum Text<'de, 's> {
    Borrowed(&'de str),
    Unescaped(&'s str),
}

impl Deref for Text<'_, '_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) | Text::Unescaped(text) => text,
        }
    }
}

/// Reads a scalar by a function that answers `None` for what it does not expect.
struct Expected<F> {
    expected: &'static str,
    read: F,
}

impl<'de, T, F: FnOnce(Scalar<'de, '_>) -> Option<T>> DeserializeSeed<'de> for Expected<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<F> Expected<F> {
    fn read<'de, 's, T, E: Error>(self, scalar: Scalar<'de, 's>) -> Result<Option<T>, E>
    where
        F: FnOnce(Scalar<'de, 's>) -> Option<T>,
    {
        match (self.read)(scalar) {
            Some(value) => Ok(Some(value)),
            None => Err(E::custom(format_args!("expected {}", self.expected))),
        }
    }
}

impl<'de, T, F: FnOnce(Scalar<'de, '_>) -> Option<T>> Visitor<'de> for Expected<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Option<T>, E> {
        self.read(Scalar::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        self.read(Scalar::Integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        self.read(Scalar::Integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        self.read(Scalar::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        self.read(Scalar::Text(Text::Unescaped(text)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Option<T>, E> {
        self.read(Scalar::Text(Text::Borrowed(text)))
    }
}

/// Each of these leaves the field as it is if it is `null`.
fn scalar<'de, A: MapAccess<'de>, T>(
    map: &mut A,
    into: &mut T,
    expected: &'static str,
    read: impl FnOnce(Scalar<'de, '_>) -> Option<T>,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value_seed(Expected { expected, read })? {
        *into = value;
    }
    Ok(())
}

fn text<'de, A: MapAccess<'de>>(
    map: &mut A,
    into: &mut Cow<'de, str>,
    reader: &mut Reader<'de>,
) -> Result<(), A::Error> {
    if let Some(text) = map.next_value_seed(Characters(reader))? {
        *into = text;
    }
    Ok(())
}

/// Reads a string, or `null`.
///
/// JavaScript counts in halves of characters beyond U+FFFF, may cut a text between them, and writes
/// the half that is left as an escape, such as `\ud83d`. serde refuses that in text but not in bytes.
struct Characters<'r, 'de>(&'r mut Reader<'de>);

impl<'de> DeserializeSeed<'de> for Characters<'_, 'de> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Characters<'_, 'de> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_bytes(self)
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        let text = str::from_utf8(bytes).map_err(E::custom)?;
        Ok(Some(self.0.builder.text(text)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        let text = without_halves(bytes).map_err(E::custom)?;
        let kept = self.0.builder.copied_text(&text);
        match self.0.or_end(kept) {
            Some(text) => Ok(Some(text)),
            None => Err(E::custom("too large")),
        }
    }
}

/// With U+FFFD for every half of a character, which is as long.
fn without_halves(bytes: &[u8]) -> Result<Cow<'_, str>, str::Utf8Error> {
    let mut read = String::new();
    let mut rest = bytes;
    loop {
        let error = match str::from_utf8(rest) {
            Ok(text) if read.is_empty() => return Ok(Cow::Borrowed(text)),
            Ok(text) => return Ok(Cow::Owned(read + text)),
            Err(error) => error,
        };
        let (good, bad) = rest.split_at(error.valid_up_to());
        let [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] = bad else {
            return Err(error);
        };
        read.push_str(str::from_utf8(good)?);
        read.push(char::REPLACEMENT_CHARACTER);
        rest = after;
    }
}

fn integer<'de, A: MapAccess<'de>, T: TryFrom<i128>>(
    map: &mut A,
    into: &mut T,
) -> Result<(), A::Error> {
    scalar(
        map,
        into,
        "an integer within the range of its type",
        |scalar| T::try_from(whole(scalar)?).ok(),
    )
}

fn whole(scalar: Scalar<'_, '_>) -> Option<i128> {
    match scalar {
        Scalar::Integer(number) => Some(number),
        Scalar::Text(text) => text.parse().ok(),
        // Such as `1.0` or `1e3`; what is beyond every type saturates and is out of range.
        Scalar::Float(number) => (number.fract() == 0.0).then_some(number as i128),
        Scalar::Bool(_) => None,
    }
}

/// Of dropped elements.
fn count<'de, A: MapAccess<'de>, T>(map: &mut A, list: &mut Capped<T>) -> Result<(), A::Error> {
    let mut count = 0;
    integer(map, &mut count)?;
    list.drop_more(count);
    Ok(())
}

/// `names` are those of the enumerators from 0 on; what has no number there becomes `unknown`.
fn enumerator<'de, A: MapAccess<'de>>(
    map: &mut A,
    names: &[&str],
) -> Result<Option<u64>, A::Error> {
    let mut number = None;
    scalar(map, &mut number, "an enumerator", |scalar| {
        if let Scalar::Text(name) = &scalar
            && !name.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Some(
                names
                    .iter()
                    .position(|known| *known == &**name)
                    .map(|at| at as u64),
            );
        }
        whole(scalar).map(|number| u64::try_from(number).ok())
    })?;
    Ok(number)
}

fn id<'de, A: MapAccess<'de>, const N: usize>(
    map: &mut A,
    into: &mut Id<N>,
) -> Result<(), A::Error> {
    scalar(
        map,
        into,
        "an id in hexadecimal digits",
        |scalar| match scalar {
            Scalar::Text(text) => Some(hex(text.as_bytes())),
            Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
        },
    )
}

fn hex<const N: usize>(digits: &[u8]) -> Id<N> {
    if digits.is_empty() {
        return Id::Absent;
    }
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Id::NotHex;
    }
    if digits.len() != 2 * N {
        return Id::OfOtherLength;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    };
    Id::Bytes(std::array::from_fn(|at| {
        value(digits[2 * at]) << 4 | value(digits[2 * at + 1])
    }))
}

fn array<'de, T: Element<'de>, A: MapAccess<'de>>(
    map: &mut A,
    list: &mut T::List,
    reader: &mut Reader<'de>,
) -> Result<(), A::Error> {
    map.next_value_seed(Array::<T> { list, reader })
}

fn object<'de, T: Record<'de>, A: MapAccess<'de>>(
    map: &mut A,
    reader: &mut Reader<'de>,
) -> Result<Option<T>, A::Error> {
    map.next_value_seed(Object::new(reader))
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}
