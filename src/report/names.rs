//! What names were taken for, told to a person or as JSON.

use std::fmt::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::engine::stats::Place;
use crate::plan::understood::{Names, Understood, UnderstoodModel};
use crate::report::look::{Look, Tone};

/// What was understood of an input's names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamesReport<'a> {
    /// By model.
    pub(crate) understood: &'a Understood,
    /// Input names, in order; empty for a single input.
    pub(crate) files: &'a [String],
}

impl NamesReport<'_> {
    fn told(&self, place: Place, look: Look) -> String {
        let line = place.line;
        let chinese = match self.files.get(place.file as usize) {
            Some(file) => format!("{file} 第 {line} 行"),
            None => format!("第 {line} 行"),
        };
        look.pick((self.place(place), chinese))
    }

    fn place(&self, place: Place) -> String {
        match self.files.get(place.file as usize) {
            Some(file) => format!("{file} line {}", place.line),
            None => format!("line {}", place.line),
        }
    }
}

/// The kinds of names, by their words: for scripts and in English, in Chinese.
fn kinds(model: &UnderstoodModel) -> [((&'static str, &'static str), &Names); 4] {
    [
        (("found", "找到"), &model.found),
        (("missing", "找不到"), &model.missing),
        (("ambiguous", "不唯一"), &model.ambiguous),
        (("unresolvable", "无法解析"), &model.unresolvable),
    ]
}

/// What a bare value of a model stands for.
fn key(model: &UnderstoodModel, look: Look) -> String {
    match &model.key[..] {
        [] => look.pick(("a bare value says nothing", "必须写明字段")).to_owned(),
        key => {
            let key = key.join("|");
            look.pick((format!("a bare value is its {key}"), format!("只写一个值时按 {key} 匹配")))
        }
    }
}

impl NamesReport<'_> {
    /// In words, for a person.
    pub(crate) fn write(&self, look: Look, text: &mut impl Write) -> fmt::Result {
        for model in &self.understood.models {
            // The server may call a model anything.
            let name = model.model.escape_debug();
            let key = key(model, look);
            let line =
                look.pick((format!("Names of {name}: {key}"), format!("{name} 的名称：{key}")));
            writeln!(text, "\n{}", look.paint(Tone::Strong, line))?;
            for (word, names) in kinds(model) {
                if names.count == 0 {
                    continue;
                }
                let mut first = String::new();
                for (place, name) in &names.first {
                    write!(first, "{}{name:?} ({})", separator(&first), self.told(*place, look))?;
                }
                let more = if names.count > names.first.len() as u64 { ", …" } else { "" };
                let tone = if word.0 == "found" { Tone::Good } else { Tone::Bad };
                let line = look.paint(tone, format!("{:>13}  {}", names.count, look.pick(word)));
                writeln!(text, "{line}{}{first}{more}", look.pick((": ", "：")))?;
            }
        }
        Ok(())
    }
}

fn separator(before: &str) -> &'static str {
    if before.is_empty() { "" } else { ", " }
}

/// A list of objects, one a model.
impl Serialize for NamesReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let models = self.understood.models.iter();
        serializer.collect_seq(models.map(|model| Model { model, report: *self }))
    }
}

struct Model<'a> {
    model: &'a UnderstoodModel,
    report: NamesReport<'a>,
}

impl Serialize for Model<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", &self.model.model)?;
        map.serialize_entry("key", &self.model.key)?;
        for ((word, _), names) in kinds(self.model) {
            map.serialize_entry(word, &names.count)?;
            map.serialize_entry(&format!("first_{word}"), &First { names, report: self.report })?;
        }
        map.end()
    }
}

struct First<'a> {
    names: &'a Names,
    report: NamesReport<'a>,
}

impl Serialize for First<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.names.first.len()))?;
        for (place, name) in &self.names.first {
            list.serialize_element(&format!("{name:?} ({})", self.report.place(*place)))?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_shown_without_what_a_terminal_would_obey() {
        let model =
            UnderstoodModel { model: "ev\u{1b}[31mil\u{202e}".into(), ..Default::default() };
        let report = NamesReport { understood: &Understood { models: vec![model] }, files: &[] };
        let mut shown = String::new();
        report.write(Look::default(), &mut shown).unwrap();
        assert!(shown.contains("Names of ev\\u{1b}[31mil\\u{202e}: a bare"), "{shown:?}");
    }
}
