use super::super::{Import, Rerun, Undo};
use super::*;
use crate::options::Rate;

fn typed(line: &str) -> Typed {
    Typed::parse(line.split(' ').map(OsString::from)).unwrap()
}

fn layer(source: Source, values: &[(&str, &[&str])]) -> Layer {
    let values = values.iter().map(|(flag, values)| {
        let values = values.iter().map(OsString::from).collect();
        ((*flag).to_owned(), values)
    });
    Layer {
        source,
        origin: "profile \"default\" of config.toml".to_owned(),
        values: values.collect(),
    }
}

fn import(layered: Layered<Import>) -> Import {
    layered.args
}

#[test]
fn every_flag_and_default_stands_together() {
    Cli::command().debug_assert();
    for name in TYPED_ONLY
        .iter()
        .chain(&ABOUT_ITSELF)
        .chain(INHERITED)
        .chain(MEANING)
        .chain(IDENTITY)
        .chain(URLS)
    {
        let known = |command: &clap::Command| {
            (command.get_arguments()).any(|arg| arg.get_long() == Some(name))
        };
        let generated = ["help", "version"].contains(name);
        assert!(generated || Cli::command().get_subcommands().any(known), "{name}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_a_profile_over_the_default() {
    let profile = layer(Source::Profile, &[("rate", &["3"]), ("timeout", &["3"])]);
    let variable = layer(Source::Variable, &[("rate", &["2"])]);
    let layers = [variable, profile];
    for (line, layers, rate, source) in [
        ("b import a.csv --rate 1", &layers[..], 1.0, Some(Source::Flag)),
        ("b import a.csv", &layers[..], 2.0, Some(Source::Variable)),
        ("b import a.csv", &layers[1..], 3.0, Some(Source::Profile)),
        ("b import a.csv", &[], 90.0, None),
    ] {
        let layered = typed(line).over::<Import>(layers).unwrap();
        assert_eq!(layered.sources.get("rate").map(|at| at.0), source, "{line}");
        assert_eq!(import(layered).server.calls.rate, Rate::PerSecond(rate), "{line}");
    }
}

#[test]
fn a_repeatable_flag_replaces_what_lies_beneath_and_is_not_added_to_it() {
    let profile = layer(Source::Profile, &[("map", &["inst_id=a", "biz_id=b"])]);
    let names = |line: &str| {
        let map = import(typed(line).over(std::slice::from_ref(&profile)).unwrap()).reading.map;
        map.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(names("b import a.csv"), ["a", "b"]);
    assert_eq!(names("b import a.csv --map inst_id=c"), ["c"]);
}

#[test]
fn a_switch_in_a_layer_is_true_or_false() {
    let json = |text: &str| {
        let layer = layer(Source::Variable, &[("json", &[text]), ("verbose", &["2"])]);
        typed("b import a.csv").over(&[layer]).map(import)
    };
    let on = json("yes").unwrap();
    assert!(on.server.display.json);
    assert_eq!(on.server.display.log.verbose, 2);
    assert!(!json("0").unwrap().server.display.json);
    let error = json("maybe").unwrap_err().to_string();
    assert_eq!(error, "BKASSOC_JSON: json is true or false, not maybe");
}

#[test]
fn a_layer_holds_values_for_commands_that_do_not_have_them() {
    let profile = layer(Source::Profile, &[("batch", &["auto"]), ("listen", &["x"])]);
    typed("b undo a.results.csv").over::<Undo>(&[profile]).unwrap();
}

#[test]
fn a_bad_value_is_blamed_on_the_place_where_it_was_given() {
    let profile = layer(Source::Profile, &[("rate", &["fast"])]);
    let error = typed("b import a.csv").over::<Import>(&[profile]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile \"default\" of config.toml: invalid value 'fast' for '--rate \
         <N[/s|/m]|unlimited>': a rate is a positive number, as 90, 90/s or 600/m, or \
         `unlimited`"
    );
    let variable = layer(Source::Variable, &[("entrance", &["door"])]);
    let error = typed("b import a.csv").over::<Import>(&[variable]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "BKASSOC_ENTRANCE: invalid value 'door' for '--entrance <ENTRANCE>' [possible values: \
         esb, gateway, native]"
    );
}

#[test]
fn what_a_run_inherits_is_the_option_as_it_came_out() {
    let profile = layer(Source::Profile, &[("rate", &["3"]), ("app-code", &["x"])]);
    let layered = typed("b import a.csv --map inst_id=a").over::<Import>(&[profile]).unwrap();
    assert_eq!(layered.inherited["rate"], ["3"]);
    assert_eq!(layered.inherited["map"], ["inst_id=a"]);
    assert_eq!(layered.inherited["settle-after"], ["35s"]);
    assert!(!layered.inherited.contains_key("app-code"));
    let meaning: Vec<_> = layered.meaning().into_iter().collect();
    assert_eq!(
        meaning,
        [("map", "inst_id=a"), ("send-biz-id", "auto")]
            .map(|(k, v)| { (k.to_owned(), v.to_owned()) })
    );

    let values = layered
        .inherited
        .into_iter()
        .map(|(flag, values)| (flag, values.into_iter().map(OsString::from).collect()));
    let parent = Layer {
        source: Source::Parent,
        origin: "a.results.csv.run.json".to_owned(),
        values: values.collect(),
    };
    let rerun = typed("b rerun a.results.csv").over::<Rerun>(&[parent]).unwrap();
    assert_eq!(rerun.args.server.calls.rate, Rate::PerSecond(3.0));
}

#[test]
fn the_command_to_give_again_is_what_was_typed_but_for_passwords() {
    for (line, again, identity) in [
        (
            "/usr/bin/b import a@2026.csv --proxy http://u:c/n@ry@h:1 --username me@corp.com",
            "bkassoc import a@2026.csv --proxy http://***@h:1 --username me@corp.com",
            "--proxy http://***@h:1 --username me@corp.com",
        ),
        (
            "b import --proxy=u:canary@h:1 --endpoint=http://u:canary@h --app-code=a@b c@d.csv",
            "bkassoc import --proxy=***@h:1 --endpoint=http://***@h --app-code=a@b c@d.csv",
            "--app-code a@b --endpoint http://***@h --proxy ***@h:1",
        ),
        (
            "b import --endpoint http://u:canary@h -o x=@y.csv -- a.csv",
            "bkassoc import --endpoint http://***@h -o x=@y.csv -- a.csv",
            "--endpoint http://***@h",
        ),
    ] {
        let typed = typed(line);
        assert_eq!(typed.again().join(" "), again);
        assert_eq!(typed.identity_flags().join(" "), identity);
    }
}
