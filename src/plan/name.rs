//! The grammar of names: `PROPERTY=VALUE[,PROPERTY=VALUE…]`, else a bare value.
//!
//! Values are not quoted, and may hold `,` and `=`: one ends only where another known property and `=`
//! follow. Pure text; knows nothing of what a value means.

use super::properties::{Named, Properties};

/// What a cell says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name<'t> {
    /// Properties, each once, by their places, with their values as they stand there.
    Pairs(Vec<(usize, &'t str)>),
    /// A value of the model's key.
    Bare,
    /// It uses a display name that several properties have.
    Shared(&'t str, Vec<usize>),
}

/// Reads a cell.
pub(super) fn read<'t>(text: &'t str, properties: &Properties) -> Name<'t> {
    let Some((mut head, mut rest)) = pair(text, properties, &[]) else { return Name::Bare };
    let mut pairs: Vec<(usize, &str)> = Vec::new();
    loop {
        let at = match head {
            (_, Named::One(at)) => at,
            (name, Named::Shared(places)) => return Name::Shared(name, places),
        };
        pairs.push((at, rest));
        let mut commas = rest.match_indices(',').map(|(comma, _)| comma);
        let next = commas.find_map(|comma| {
            let found = pair(&rest[comma + 1..], properties, &pairs)?;
            Some((comma, found))
        });
        let Some((comma, found)) = next else { return Name::Pairs(pairs) };
        if let Some((_, value)) = pairs.last_mut() {
            *value = &rest[..comma];
        }
        (head, rest) = found;
    }
}

type Head<'t> = (&'t str, Named);

/// The known property that a text begins with, unless it was there before, and what follows its `=`.
fn pair<'t>(
    text: &'t str,
    properties: &Properties,
    before: &[(usize, &str)],
) -> Option<(Head<'t>, &'t str)> {
    let text = text.trim_start();
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if c == '=' {
            let name = &text[..end];
            let named = properties.find(name);
            let is_new = |named: &&Named| match named {
                Named::One(at) => before.iter().all(|(other, _)| other != at),
                Named::Shared(_) => true,
            };
            if let Some(named) = named.filter(is_new) {
                return Some(((name, named.clone()), &text[at + 1..]));
            }
        }
        if !c.is_whitespace() {
            end = at + c.len_utf8();
        }
        if end > properties.longest {
            break;
        }
    }
    None
}

/// What looks like the name of a property in a text that was taken for a value: a word before the first
/// `=`, behind the last `,` before that.
pub(super) fn alleged_property(text: &str) -> Option<&str> {
    let (before, _) = text.split_once('=')?;
    let word = before.rsplit(',').next().unwrap_or(before).trim();
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties::tests::attributes;
    use super::*;

    fn properties() -> Properties {
        let zh = attributes(&[
            ("bk_inst_name", "singlechar", "实例名"),
            ("bk_asset_id", "singlechar", "编号"),
            ("room", "singlechar", "机房"),
            ("eq", "singlechar", "a=b"),
            ("twin1", "singlechar", "双"),
            ("twin2", "singlechar", "双"),
        ]);
        let en = attributes(&[("bk_asset_id", "singlechar", "asset id")]);
        Properties::of("m", zh, en)
    }

    #[track_caller]
    fn says(text: &str, pairs: &[(&str, &str)]) {
        let properties = properties();
        let Name::Pairs(found) = read(text, &properties) else { panic!("{text} is bare") };
        let found: Vec<_> =
            found.into_iter().map(|(at, value)| (&*properties.get(at).id, value)).collect();
        assert_eq!(found, pairs, "{text}");
    }

    #[test]
    fn a_property_goes_by_its_id_or_by_a_display_name_of_either_language() {
        says("bk_asset_id=C026", &[("bk_asset_id", "C026")]);
        says("编号=C026", &[("bk_asset_id", "C026")]);
        says("asset id=C026", &[("bk_asset_id", "C026")]);
        says("编号=C026,机房=上海 二区", &[("bk_asset_id", "C026"), ("room", "上海 二区")]);
        says(" 编号 =C026,  机房 = x", &[("bk_asset_id", "C026"), ("room", " x")]);
    }

    #[test]
    fn a_value_ends_only_where_another_known_property_follows() {
        says("机房=A,B机房,编号=C027", &[("room", "A,B机房"), ("bk_asset_id", "C027")]);
        says("实例名=edge, sw=1 机房", &[("bk_inst_name", "edge, sw=1 机房")]);
        says("实例名=a=b,c=d", &[("bk_inst_name", "a=b,c=d")]);
        says("实例名=,,=,机房=", &[("bk_inst_name", ",,="), ("room", "")]);
        // The second one is a part of the value.
        says("编号=1,编号=2", &[("bk_asset_id", "1,编号=2")]);
        says("编号=1,机房", &[("bk_asset_id", "1,机房")]);
        says("a=b=c", &[("eq", "c")]);
    }

    #[test]
    fn a_value_is_as_it_stands_there() {
        for value in [
            "0015",
            "1e3",
            "=SUM(A1) 18",
            "9999999999999999999",
            "\"q\"",
            "'q",
            " x ",
            "a\nb",
            "１",
        ] {
            says(&format!("编号={value}"), &[("bk_asset_id", value)]);
            says(&format!("编号={value},机房={value}"), &[("bk_asset_id", value), ("room", value)]);
        }
    }

    #[test]
    fn all_else_is_bare() {
        let properties = properties();
        for text in
            ["core-sw", "foo=bar", "编号＝C026", "编号", "=x", ",编号=1", "1|2", "Asset id=1"]
        {
            assert_eq!(read(text, &properties), Name::Bare, "{text}");
        }
        // A full-width comma separates nothing.
        says("编号=1，机房=2", &[("bk_asset_id", "1，机房=2")]);
    }

    #[test]
    fn a_shared_display_name_is_told() {
        let properties = properties();
        assert_eq!(read("双=1", &properties), Name::Shared("双", vec![4, 5]));
        assert_eq!(read("编号=1,双 =1", &properties), Name::Shared("双", vec![4, 5]));
        says("twin1=1,twin2=2", &[("twin1", "1"), ("twin2", "2")]);
    }

    #[test]
    fn what_looks_like_a_property_is_found_in_a_value() {
        for (text, word) in [
            ("foo=bar", Some("foo")),
            ("C026, foo =3", Some("foo")),
            ("a,b=c,d=e", Some("b")),
            ("core", None),
            ("=x", None),
        ] {
            assert_eq!(alleged_property(text), word, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_together_is_taken_apart(
            name in "[x-z0-9,= 机]{0,12}", room in "[x-z0-9,= 机]{0,12}", lenient in any::<bool>(),
        ) {
            let separator = if lenient { " , 机房 =" } else { ",机房=" };
            let text = format!("编号={name}{separator}{room}");
            let properties = properties();
            let room_value = room.as_str();
            let name_value = if lenient { format!("{name} ") } else { name.clone() };
            prop_assert_eq!(
                read(&text, &properties),
                Name::Pairs(vec![(1, &*name_value), (2, room_value)])
            );
        }

        #[test]
        fn any_text_is_read(text in "[编号机房=, a]{0,40}") {
            let properties = properties();
            if let Name::Pairs(pairs) = read(&text, &properties) {
                let length: usize = pairs.iter().map(|(_, value)| value.len()).sum();
                prop_assert!(length < text.len());
            }
        }
    }
}
