//! What names mean.

use serde_json::json;

use super::super::*;
use super::world::*;
use crate::cmdb::wire::Route;
use crate::exit::Exit;
use crate::input::{InputOptions, Reader, Source};
use crate::plan::understood::Names;

#[tokio::test(start_paused = true)]
async fn every_kind_of_name_means_its_instance_by_every_entrance() {
    for world in worlds() {
        for (name, id) in [
            ("sw-14", 14),
            ("bk_inst_name=sw-15", 15),
            ("名称=sw-16", 16),
            ("middleware = sw-17", 17),
            ("固资编号=SW-A1", 11),
            ("asset id=SW-A2,名称=core-sw", 12),
            ("bk_inst_name=edge, sw=1 机房", 13),
            ("edge, sw=1 机房", 13),
            ("bk_inst_id=20", 20),
            ("实例名=sw-21", 21),
        ] {
            assert_eq!(world.switch(name).await, Ok(id), "{name}");
        }
        for (name, id) in [
            ("10.0.0.40", 40),
            ("10.0.0.41@0", 41),
            ("内网IP=10.0.0.42,云区域=0", 42),
            ("inner ip=10.0.0.43, cloud area=0", 43),
            ("内网IPv4=10.0.0.44", 44),
            ("bk_asset_id=AS-45", 45),
            ("172.16.1.1", 9_999_001),
            ("172.16.1.2", 9_999_001),
            ("内网IP=172.16.1.1,172.16.1.2,云区域=0", 9_999_001),
            ("172.16.1.3@3", 9_999_003),
            ("172.16.1.3@0", 9_999_002),
            ("fd00::1", 9_999_004),
            ("[fd00:0::1]@0", 9_999_004),
            ("bk_host_innerip_v6=FD00::1", 9_999_004),
        ] {
            assert_eq!(world.host(name).await, Ok(id), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_or_fits_several_is_told_with_what_to_do() {
    let world = World::new();
    says(
        world.switch("core-1").await,
        &["missing-source: column source: no bk_switch has bk_inst_name \"core-1\"; create it"],
    );
    says(
        world.switch("core-sw").await,
        &[
            "ambiguous-source: column source: 2 bk_switch have bk_inst_name \"core-sw\": ids 11, 12;",
            "PROPERTY=VALUE",
        ],
    );
    says(
        world.host("172.16.1.3").await,
        &["ambiguous-target:", "ids 9999002, 9999003; say which with @CLOUD or --cloud-id"],
    );
    says(
        world.host("10.0.0.40@7").await,
        &["missing-target:", "no host has bk_host_innerip \"10.0.0.40\" and bk_cloud_id 7"],
    );
    says(world.host("10.0.0.40@x").await, &["unresolvable:", "\"x\" is no number of a cloud area"]);
    // The case of letters counts, and nothing is trimmed inside.
    for name in ["SW-14", "sw- 14", "编号=SW-A1", "sw-014"] {
        says(world.switch(name).await, &["missing-source:"]);
    }
    says(
        world.one(ON_SWITCH, "core-1", "core-2").await,
        &["missing-source: column source: no ", "; column target: no bk_switch has", "core-2"],
    );
    says(
        world.one(ON_SWITCH, "sw-14", "core-sw").await,
        &["ambiguous-target: column target: 2 bk_switch have"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_property_that_the_model_lacks_is_told_from_an_instance_that_is_missing() {
    let world = World::new();
    for name in ["foo=bar", "名称=core-sw,foo=SW-A1"] {
        says(
            world.switch(name).await,
            &[
                "missing-source:",
                "bk_switch has no property \"foo\"; it has bk_asset_id (固资编号)",
            ],
        );
    }
    let bare = World::new();
    bare.sandbox.put_instance("bk_switch", 14, json!({"bk_inst_name": "foo=bar"})).unwrap();
    assert_eq!(bare.switch("foo=bar").await, Ok(14));
    says(world.switch("编号=1\u{1b}[0m").await, &["\\u{1b}"]);
}

#[tokio::test(start_paused = true)]
async fn a_text_is_never_taken_for_a_number_and_spaces_at_its_ends_are_tried_both_ways() {
    let world = World::new();
    let names = ["0015", "1e3", "=SUM(A1) 18", "9999999999999999999", " in front", "15", "a|b"];
    for (id, name) in (100..).zip(names) {
        world.sandbox.put_instance("bk_switch", id, json!({"bk_inst_name": name})).unwrap();
    }
    world.sandbox.put_instance("bk_switch", 200, json!({"bk_inst_name": "in front"})).unwrap();
    for (id, name) in (100..).zip(names) {
        assert_eq!(world.switch(name).await, Ok(id), "{name}");
    }
    assert_eq!(world.switch("名称= 0015 , 固资编号 = SW-00100 ").await, Ok(100));
    assert_eq!(world.switch("in front").await, Ok(200));
    assert_eq!(world.switch("in front ").await, Ok(200));
    says(world.switch("1000").await, &["missing-source"]);
    says(world.switch("bk_inst_id=0014").await, &["missing-source", "is a whole number"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_says_what_a_bare_value_stands_for() {
    let world = World::new().with_keys(&["bk_switch=asset id+名称", "host=bk_asset_id"]);
    assert_eq!(world.one(ON_HOST, "SW-A2|core-sw", "AS-45").await, Ok((12, 45)));
    says(world.switch("SW-A2").await, &["unresolvable:", "not bk_asset_id|bk_inst_name"]);
    let cloud = World::new().with_cloud(3);
    assert_eq!(cloud.host("172.16.1.3").await, Ok(9_999_003));
    assert_eq!(cloud.host("172.16.1.3@0").await, Ok(9_999_002));
    assert_eq!(cloud.host("内网IP=172.16.1.3,云区域=0").await, Ok(9_999_002));
    assert_eq!(cloud.host("bk_asset_id=AS-45").await, Ok(45));
    let (_, understood) = World::new()
        .with_keys(&["bk_switch=asset id+名称"])
        .plan([row(0, ON_HOST, "SW-A2|core-sw", "10.0.0.40")])
        .await;
    let keys: Vec<_> = understood.models.iter().map(|model| model.key.join("+")).collect();
    assert_eq!(keys, ["bk_asset_id+bk_inst_name", "bk_host_innerip"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_model_lacks_ends_the_command_before_anything_is_planned() {
    let twins = LARGE.to_owned()
        + "[[attribute]]\nmodel = \"app\"\nid = \"a\"\nzh = \"双\"\n\
           [[attribute]]\nmodel = \"app\"\nid = \"b\"\nzh = \"双\"\n";
    for (key, says) in [
        ("app=nothing", "--key app: app has no property \"nothing\"; it has bk_inst_name"),
        ("app=bk_inst_name+nothing", "--key app: app has no property \"nothing\""),
        ("app=双", "--key app: several properties are called \"双\""),
    ] {
        let wrong = World::of_toml(&twins).with_keys(&[key]);
        // Even where no bare value is used.
        let rows = [row(0, "app_run_node", "bk_inst_name=app-1", "node-000007")];
        let halt = wrong.try_plan(rows).await.unwrap_err();
        assert_eq!(halt.exit, Exit::Usage);
        assert!(halt.message.starts_with(says), "{}", halt.message);
    }
    // An old ESB does not tell which properties there are, so that nobody can say.
    let untold = World::old_esb().with_keys(&["bk_switch=nothing"]);
    says(untold.one(ON_HOST, "x", "10.0.0.40").await, &["unresolvable:"]);
}

#[tokio::test(start_paused = true)]
async fn rows_come_out_in_their_order_whatever_they_say() {
    let world = World::new();
    let rows = [
        with_ids(0, [ON_HOST, "13", "31", ""], "", ""),
        row(1, ON_SWITCH, "sw-14", "SW-14"),
        with_ids(2, [ON_HOST, "x", "31", ""], "", ""),
        row(3, "nothing", "a", "b"),
        row(4, "set_bk_mainline_biz", "a", "b"),
        with_ids(5, [ON_SWITCH, " 14 ", "", "2"], "core-sw", "固资编号=SW-00014"),
        row(6, ON_SWITCH, "名称=sw-14", "固资编号=SW-00014"),
        row(7, ON_SWITCH, "sw-14", "sw-15"),
        with_ids(8, ["", "", "", ""], "sw-14", "sw-15"),
    ];
    let before = rows.clone();
    let (out, understood) = world.plan(rows).await;
    let ordinals: Vec<_> = out.iter().map(|planned| planned.row.ordinal).collect();
    assert_eq!(ordinals, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    for same in [0, 1, 2, 3, 4, 8] {
        assert_eq!(out[same].row, before[same], "{same}");
    }
    assert_eq!(told(&out[0]), Ok((13, 31)));
    says(
        told(&out[1]),
        &["missing-target: column target: no bk_switch has bk_inst_name \"SW-14\""],
    );
    says(told(&out[3]), &["unknown-association: model association \"nothing\" does not exist"]);
    says(told(&out[4]), &["mainline-association: \"set_bk_mainline_biz\" is part of"]);
    let Ok(filled) = &out[5].row.parsed else { panic!("{:?}", out[5]) };
    // The id that is there wins over the name beside it.
    assert_eq!((filled.association.inst_id.get(), filled.association.asst_inst_id.get()), (14, 14));
    assert_eq!(out[5].row.cells.ids(), [ON_SWITCH, " 14 ", "14", "2"]);
    assert_eq!(out[5].row.cells.named(), before[5].cells.named());
    assert_eq!(told(&out[6]), Ok((14, 14)));
    assert_eq!(told(&out[7]), Ok((14, 15)));
    let place = |line| Place { file: 0, line };
    let names = |count, first: &[(u64, &str)]| Names {
        count,
        first: first.iter().map(|&(line, name)| (place(line), name.to_owned())).collect(),
    };
    assert_eq!(
        understood.models,
        [UnderstoodModel {
            model: "bk_switch".to_owned(),
            key: vec!["bk_inst_name".to_owned()],
            found: names(
                4,
                &[(3, "sw-14"), (7, "固资编号=SW-00014"), (8, "名称=sw-14"), (9, "sw-15")]
            ),
            missing: names(1, &[(3, "SW-14")]),
            ..UnderstoodModel::default()
        }]
    );
    assert_eq!(world.routes().iter().filter(|route| **route == Route::Models).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_is_of_its_propertys_type() {
    let world = World::of_toml(NAMED_ALIKE);
    let app = async |name: &str| world.one("app_run_app", name, "one").await.map(|(id, _)| id);
    for name in [
        "层级=2",
        "tier= access,bk_inst_name=one",
        "core=true,bk_inst_name=one",
        "rank=7",
        "rank= 7 ",
    ] {
        // An option's id wins over another's name.
        let expected = if name.contains("access") { None } else { Some(30_000) };
        assert_eq!(app(name).await.ok(), expected, "{name}");
    }
    says(
        app("tier=none").await,
        &["missing-source", "tier has no option \"none\"; it has 1 (core)"],
    );
    says(app("tier=same").await, &["unresolvable", "several options of tier are called \"same\""]);
    says(app("core=yes").await, &["missing-source", "core is true or false"]);
    for text in ["07", "7.0", "+7", "7e0", "9999999999999999999", "seven"] {
        says(app(&format!("rank={text}")).await, &["missing-source", "rank is a whole number"]);
    }
    says(app("weight=0.5").await, &["unresolvable", "weight, of type float"]);
    says(app("双=1").await, &["unresolvable", "say which by its id, one of core, weight"]);
    says(app("rank= ").await, &["unresolvable", "no value stands for rank"]);
}

#[tokio::test(start_paused = true)]
async fn businesses_are_listed_once_and_told_by_their_exact_names() {
    let world = World::of_toml(NAMED_ALIKE);
    let rows =
        ["biz-3", "业务名=biz-500 ", "bk_biz_id=44", "BIZ-3", "biz", "twin", "bk_biz_maintainer=x"];
    let rows: Vec<_> =
        (0..).zip(rows).map(|(n, name)| row(n, "biz_run_app", name, "one")).collect();
    let (out, _) = world.plan(rows).await;
    let told: Vec<_> = out.iter().map(told).collect();
    assert_eq!(told[..3], [Ok((3, 30_000)), Ok((500, 30_000)), Ok((44, 30_000))]);
    says(told[3].clone(), &["missing-source: column source: no biz has bk_biz_name \"BIZ-3\""]);
    says(told[4].clone(), &["missing-source"]);
    says(told[5].clone(), &["ambiguous-source: column source: 2 biz have", "501, 502"]);
    says(told[6].clone(), &["unresolvable", "by bk_biz_name or bk_biz_id alone"]);
    assert_eq!(world.routes().iter().filter(|route| **route == Route::SearchBusiness).count(), 3);
    let (out, _) = world.plan([row(0, "biz_run_set", "biz-3", "default")]).await;
    says(
        super::world::told(&out[0]),
        &["unresolvable: column target: a set can't be found by name"],
    );
}

/// The names in the files of `samples/`, one of them an export of CMDB's page.
#[tokio::test(start_paused = true)]
async fn the_names_in_the_samples_mean_instances_of_the_sample_world() {
    let options = InputOptions::default();
    let found = async |name: &str| {
        let path = format!("{}/samples/{name}", env!("CARGO_MANIFEST_DIR"));
        let rows = Reader::open(&[Source::Path(path.into())], &options).unwrap();
        let (planned, _) = World::new().plan(rows.map(Result::unwrap)).await;
        let told = planned.iter().map(|planned| match told(planned) {
            Ok((source, target)) => format!("{} {source} {target}", planned.row.line),
            Err(why) => format!("{} {}", planned.row.line, why.split(':').next().unwrap()),
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        found("links-cmdb.xlsx").await,
        [
            "3 11 21",
            "4 11 22",
            "5 12 23",
            "6 13 31",
            "7 13 33",
            "8 14 34",
            "9 ambiguous-source",
            "10 missing-source",
            "11 ambiguous-target",
            "12 14 9999003",
            "13 14 9999001",
            "14 17 18",
            "15 15 19",
            "16 3 30",
            "17 4 40",
        ]
    );
    assert_eq!(
        found("links-names.csv").await,
        [
            "2 11 21",
            "3 11 22",
            "4 13 31",
            "5 14 9999001",
            "6 14 9999004",
            "7 14 9999003",
            "8 ambiguous-target",
            "9 ambiguous-source",
            "10 missing-source",
            "11 17 18",
            "12 15 19",
            "13 3 30",
            "14 4 40",
        ]
    );
}
