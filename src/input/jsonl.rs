//! Lines of JSON objects, whose keys are the columns' names or those of the API's own body. Numbers are
//! never turned into floats: a value's text counts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::Columns;
use super::error::InputError;
use super::row::{RowParser, bad_name, cut};
use super::text::{MAX_RECORD, Text};
use crate::association::{Column, Named, Row, RowError};

/// How much of a broken line a message shows, in characters.
const SHOWN: usize = 200;

/// Lines of objects.
pub(super) struct Objects {
    text: Text,
    says_more_than_ids: bool,
}

impl Objects {
    /// Looks at the first line, and refuses results files and JSON in other shapes. Any other fault is
    /// one of a row.
    pub(super) fn open(mut text: Text, columns: &Columns) -> Result<Self, InputError> {
        text.skip_empty_lines()?;
        refuse_other_shapes(&mut text)?;
        let end = text.find(|byte| byte == b'\n')?;
        let line = &text.pending()[..end.unwrap_or(text.pending().len())];
        if serde_json::from_slice(line).is_ok_and(is_results) {
            return Err(InputError::Results { file: text.file().to_owned() });
        }
        let is_more = |key: &String| columns.field(key).is_some_and(Column::is_beside_ids);
        let says_more_than_ids = serde_json::from_slice(line)
            .is_ok_and(|object: HashMap<String, &RawValue>| object.keys().any(is_more));
        Ok(Self { text, says_more_than_ids })
    }

    /// The next row; none at the end.
    pub(super) fn next(
        &mut self,
        columns: &Columns,
        rows: &mut RowParser,
    ) -> Result<Option<Row>, InputError> {
        while self.text.skip_empty_lines()? {
            let number = self.text.line();
            let end = self.text.find(|byte| byte == b'\n')?;
            let length = end.unwrap_or(self.text.pending().len());
            if length > MAX_RECORD {
                return Err(self.text.too_long(number));
            }
            let line = &self.text.pending()[..length];
            let row =
                (!line.trim_ascii().is_empty()).then(|| read_line(number, line, columns, rows));
            self.text.consume(length);
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Whether the first of them has keys for names or actions.
    pub(super) const fn says_more_than_ids(&self) -> bool {
        self.says_more_than_ids
    }

    /// The text that the objects are read from.
    pub(super) fn into_text(self) -> Text {
        self.text
    }
}

/// Refuses objects that take several lines, and lines of several objects, by the first of them.
fn refuse_other_shapes(text: &mut Text) -> Result<(), InputError> {
    let end = text.find(|byte| byte == b'\n')?;
    let line = &text.pending()[..end.unwrap_or(text.pending().len())];
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Ok(());
    }
    let found = |text: &Text, what: &str| {
        let found = format!("line {}: {what}", text.line());
        Err(InputError::json_shape(text.file(), found, "."))
    };
    let mut objects = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    match objects.next() {
        Some(Ok(_)) => match objects.next() {
            Some(Ok(_)) => found(text, "several values stand on one line"),
            _ => Ok(()),
        },
        Some(Err(error)) if error.is_eof() && end.is_some() => {
            if first_spans_lines(text)? {
                found(text, "an object takes several lines")
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

/// Whether the value that begins here comes to its end on a later line.
fn first_spans_lines(text: &mut Text) -> Result<bool, InputError> {
    loop {
        let pending = text.pending();
        let value = serde_json::Deserializer::from_slice(pending).into_iter::<IgnoredAny>().next();
        match value {
            Some(Ok(_)) => return Ok(true),
            Some(Err(error)) if error.is_eof() && pending.len() < MAX_RECORD => {
                if !text.fill()? {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
    }
}

/// The keys that only a results file has.
#[derive(Deserialize)]
struct ResultsLine {
    #[serde(rename = "status")]
    _status: IgnoredAny,
    #[serde(rename = "association_id")]
    _association_id: IgnoredAny,
    #[serde(rename = "finished_at")]
    _finished_at: IgnoredAny,
}

fn is_results(line: &RawValue) -> bool {
    matches!(object::<ResultsLine>(line), Ok(Some(_)))
}

fn read_line(number: u64, line: &[u8], columns: &Columns, rows: &mut RowParser) -> Row {
    let broken = |what: fmt::Arguments<'_>| {
        let line = cut(String::from_utf8_lossy(line).trim(), SHOWN);
        RowError::Broken(format!("{what}: {line:?}").into())
    };
    let Ok(text) = str::from_utf8(line) else {
        let error = broken(format_args!("the line can't be decoded; is --encoding right?"));
        return rows.bad(number, [""; 4], error);
    };
    match read_object(text, columns) {
        Err(error) => {
            let (what, column) = (describe(&error), error.column());
            let error = broken(format_args!("no row in JSON: {what} (column {column})"));
            rows.bad(number, [""; 4], error)
        }
        Ok(values) => {
            let [name, inst_id, asst_inst_id, biz_id, source, target, action] =
                values.each_ref().map(|value| &*value.text);
            let texts = [name, inst_id, asst_inst_id, biz_id];
            // true and 5 are no names, although their texts could be.
            if !values[Column::ObjAsstId as usize].is_string {
                return rows.bad(number, texts, bad_name(name));
            }
            if [source, target, action].iter().all(|text| text.is_empty()) {
                return rows.row(number, texts);
            }
            let [source, target, action] = [source, target, action].map(Into::into);
            rows.named_row(number, texts, Named { source, target, action })
        }
    }
}

/// `serde_json`'s message without the place, which would count lines within this line.
fn describe(error: &serde_json::Error) -> Box<str> {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    cut(text.strip_suffix(&place).unwrap_or(&text), SHOWN)
}

/// A value's text: a string's content, else the JSON as it stands; empty for null and for a missing
/// key.
#[derive(Default)]
struct Value<'a> {
    text: Cow<'a, str>,
    is_string: bool,
}

impl<'a> Value<'a> {
    fn new(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        let raw = raw.get();
        let Some(quoted) = raw.strip_prefix('"') else {
            let text = if raw == "null" { "" } else { raw };
            return Ok(Self { text: text.into(), is_string: false });
        };
        let text = match quoted.strip_suffix('"') {
            Some(plain) if !plain.contains('\\') => plain.into(),
            _ => serde_json::from_str::<String>(raw)?.into(),
        };
        Ok(Self { text, is_string: true })
    }
}

/// The values of all fields, in the order of [`Column::ALL`].
type Values<'a> = [Value<'a>; Column::ALL.len()];

fn read_object<'a>(line: &'a str, columns: &Columns) -> Result<Values<'a>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let values = Object(columns).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(values)
}

/// Reads an object and keeps the values of the fields.
struct Object<'c>(&'c Columns);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Values<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Values<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values: [Option<&'de RawValue>; Column::ALL.len()] = Default::default();
        while let Some(key) = map.next_key_seed(KeyOf(self.0))? {
            let (column, raw) = match key {
                Key::Field(column) => (column, map.next_value()?),
                Key::Metadata => match biz_id_in(map.next_value()?).map_err(within("metadata"))? {
                    Some(raw) if self.0.mapped(Column::BizId).is_none() => (Column::BizId, raw),
                    _ => continue,
                },
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if values[column as usize].replace(raw).is_some() {
                let name = column.name();
                return Err(A::Error::custom(format_args!("two values for {name}")));
            }
        }
        let mut texts = Values::default();
        for column in Column::ALL {
            if let Some(raw) = values[column as usize] {
                texts[column as usize] = Value::new(raw).map_err(within(column.name()))?;
            }
        }
        Ok(texts)
    }
}

/// Turns a value's error into one of the line, without its place, which would be misread as one in the
/// line.
fn within<E: serde::de::Error>(key: &str) -> impl Fn(serde_json::Error) -> E {
    move |error| E::custom(format_args!("{key}: {}", describe(&error)))
}

/// The meaning of a key.
enum Key {
    Field(Column),
    Metadata,
    Other,
}

struct KeyOf<'c>(&'c Columns);

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Key, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOf<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match self.0.field(key) {
            Some(column) => Key::Field(column),
            None if key == "metadata" => Key::Metadata,
            None => Key::Other,
        })
    }
}

/// The business id in the API's own body: `metadata.label.bk_biz_id`
/// (docs/cmdb-api.md#business-id).
fn biz_id_in(metadata: &RawValue) -> Result<Option<&RawValue>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        label: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Label<'a> {
        #[serde(borrow)]
        bk_biz_id: Option<&'a RawValue>,
    }
    let Some(Metadata { label: Some(label) }) = object(metadata)? else {
        return Ok(None);
    };
    let label: Option<Label<'_>> = object(label)?;
    Ok(label.and_then(|label| label.bk_biz_id))
}

/// Reads a struct from an object, and only from an object: serde would take an array too.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<Option<T>, serde_json::Error> {
    if !raw.get().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(raw.get()).map(Some)
}
