//! How the house stands: each module imports only from those above it, in the order of `src/lib.rs`
//! and of its stage's `mod.rs`, so that no two import from each other; and each third-party crate has
//! one home. Read from the source, tests apart.
//!
//! A stage is a folder with a `mod.rs`, which is the stage's face: it may use all of the stage, and all
//! of the stage may use it. What lies in `foo/` beside `foo.rs` belongs to `foo`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, UseTree};

/// Where each third-party crate is used, and nowhere else. What is below a home belongs to it.
const HOMES: &[(&str, &[&str])] = &[
    ("anstream", &["report::look"]),
    ("anstyle", &["report::look"]),
    ("axum", &["sandbox::server"]),
    ("base64", &["report::page"]),
    // The parsers are `cli`'s; pages and scripts are made from them, and mistakes are told.
    ("clap", &["cli", "commands"]),
    // Its list of shells is a flag's type.
    ("clap_complete", &["cli", "commands::completions"]),
    ("clap_mangen", &["commands::man"]),
    ("crc32fast", &["association", "input::xlsx", "storage::journal", "storage::results"]),
    ("csv", &["storage::results", "storage::plan"]),
    ("csv_core", &["input::csv"]),
    ("encoding_rs", &["input::encoding"]),
    ("flate2", &["gzip"]),
    ("governor", &["engine::pacer"]),
    ("hdrhistogram", &["engine::stats"]),
    ("humantime", &["options"]),
    ("indicatif", &["report::progress"]),
    ("jiff", &["clock"]),
    ("itoa", &["storage::results"]),
    ("memchr", &["storage::journal"]),
    ("mimalloc", &["main"]),
    ("percent_encoding", &["cmdb::http"]),
    ("prometheus_client", &["report::metrics"]),
    ("quick_xml", &["input::xlsx"]),
    ("reqwest", &["cmdb::http"]),
    ("rustls", &["cmdb::http"]),
    ("sha2", &["input::digest"]),
    ("slab", &["engine::active_rows", "engine::in_flight"]),
    ("tempfile", &["input::spool", "storage::sort", "storage::plan"]),
    ("toml", &["sandbox::models", "config::profile"]),
    ("tracing_subscriber", &["report::log"]),
    ("unicode_width", &["report::width"]),
    ("zstd", &["input::source"]),
];

/// Crates that are as good as a part of the language, and at home everywhere.
const EVERYWHERE: &[&str] = &[
    "futures",
    "rand",
    "rustc_hash",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tracing",
    "rustix",
];

#[test]
fn each_module_imports_only_from_those_above_it() {
    let wrong = House::of_sources().wrong_imports();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_third_party_crate_is_used_at_its_home_alone() {
    let strays = House::of_sources().strays();
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

#[test]
fn each_third_party_crate_has_a_home() {
    let housed = || HOMES.iter().map(|(name, _)| name).chain(EVERYWHERE);
    for name in dependencies() {
        let times = housed().filter(|known| **known == name).count();
        assert_eq!(times, 1, "{name} stands in {times} of the lists above");
    }
}

/// Each way to name what is below is seen, and what is only there for tests is not.
#[test]
fn an_import_from_below_is_found_however_it_is_written() {
    let below = "engine names commands::Failure: commands stands below engine";
    let in_stage = "engine::retry names engine::run::run: run stands below retry";
    let mut house = House::of_sources();
    for (file, planted, found) in [
        ("engine/mod.rs", "use crate::commands::Failure;", Some(below)),
        ("engine/mod.rs", "use crate::{commands::{self as c, Failure}, exit};", Some(below)),
        ("engine/mod.rs", "fn f() -> Vec<crate::commands::Failure> { todo!() }", Some(below)),
        ("engine/mod.rs", "fn f() { panic!(\"{}\", 1 + crate::commands::Failure) }", Some(below)),
        ("engine/mod.rs", "mod inline { use super::super::commands::Failure; }", Some(below)),
        ("engine/mod.rs", "pub use super::commands::Failure;", Some(below)),
        ("engine/mod.rs", "use crate::exit::Exit;", None),
        ("engine/mod.rs", "#[cfg(test)] use crate::commands::Failure;", None),
        ("engine/mod.rs", "#[cfg(test)] mod t { use crate::commands::Failure; }", None),
        ("engine/retry.rs", "use super::run::run;", Some(in_stage)),
        ("engine/retry.rs", "use crate::engine::run::run;", Some(in_stage)),
        ("engine/retry.rs", "fn f() { super::run::run(); }", Some(in_stage)),
        ("engine/run.rs", "use super::retry::Retry;", None),
        // Under the name that the stage gives it.
        (
            "input/digest.rs",
            "use super::Source;",
            Some("input::digest names input::Source: source stands below digest"),
        ),
    ] {
        house.planted(file, planted);
        let wrong = house.wrong_imports();
        house.planted(file, "");
        assert_eq!(
            wrong.iter().any(|wrong| Some(wrong.as_str()) == found),
            found.is_some(),
            "{planted}: {wrong:?}"
        );
        assert_eq!(wrong.is_empty(), found.is_none(), "{planted}: {wrong:?}");
    }
}

#[test]
fn a_crate_away_from_its_home_is_found() {
    let mut house = House::of_sources();
    for planted in [
        "use reqwest::Client;",
        "fn f() { reqwest::get(); }",
        "fn f() { panic!(\"{}\", reqwest::X) }",
        "#[derive(reqwest::X)] struct S;",
    ] {
        house.planted("outcome.rs", planted);
        let found = ["outcome uses reqwest, which is at home in cmdb::http"];
        assert_eq!(house.strays(), found, "{planted}");
    }
}

fn below_src(file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).join(file)
}

fn source(file: &str) -> String {
    fs::read_to_string(below_src(file)).unwrap()
}

/// A path through modules, from the crate's root where nothing else is said.
type Names = Vec<String>;

/// A module and what its text names.
#[derive(Default)]
struct Module {
    /// Whether it is a stage.
    is_stage: bool,
    /// Its own modules, in order.
    children: Vec<String>,
    /// What it names of this crate.
    ours: BTreeSet<Names>,
    /// Third-party crates that it names.
    theirs: BTreeSet<String>,
    /// What it gives on under a name of its own.
    given_on: BTreeMap<String, Names>,
}

/// All modules but those for tests.
struct House {
    modules: BTreeMap<Names, Module>,
    dependencies: BTreeSet<String>,
}

impl House {
    /// What lies below `src`.
    fn of_sources() -> Self {
        let mut house = Self { modules: BTreeMap::new(), dependencies: dependencies() };
        let mut unread = vec![("lib.rs".to_owned(), Vec::new())];
        house.read("main.rs", &source("main.rs"), &["main".to_owned()]);
        while let Some((file, path)) = unread.pop() {
            for child in house.read(&file, &source(&file), &path) {
                let path = [path.clone(), vec![child]].concat();
                let mut files =
                    ["", "/mod"].map(|end| format!("{}{end}.rs", path.join("/"))).into_iter();
                let file = files.find(|file| below_src(file).exists()).unwrap();
                unread.push((file, path));
            }
        }
        house
    }

    /// Reads a module's text; its own modules.
    fn read(&mut self, file: &str, text: &str, path: &[String]) -> Vec<String> {
        let parsed = syn::parse_file(text);
        let mut reading = Reading::default();
        reading.visit_file(&parsed.unwrap_or_else(|error| panic!("{file}: {error}")));
        let mut module = Module {
            is_stage: file.ends_with("mod.rs"),
            children: reading.children.clone(),
            ..Module::default()
        };
        for (depth, names) in reading.named {
            if let Some(ours) = resolve(path, depth, &names, &reading.children) {
                module.ours.insert(ours);
            } else if self.dependencies.contains(&names[0]) {
                module.theirs.insert(names[0].clone());
            }
        }
        for (name, names) in reading.given_on {
            if let Some(ours) = resolve(path, 0, &names, &reading.children) {
                module.given_on.insert(name, ours);
            }
        }
        self.modules.insert(path.to_vec(), module);
        reading.children
    }

    /// The same with this at the end of a file.
    fn planted(&mut self, file: &str, planted: &str) {
        let path: Names = file
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .split('/')
            .map(str::to_owned)
            .collect();
        self.read(file, &(source(file) + planted), &path);
    }

    fn wrong_imports(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (path, module) in self.modules.iter().filter(|(path, _)| !path.is_empty()) {
            for named in &module.ours {
                if let Some((own, other)) = self.stand_the_wrong_way(path, named) {
                    let (path, named) = (path.join("::"), named.join("::"));
                    wrong.push(format!("{path} names {named}: {other} stands below {own}"));
                }
            }
        }
        wrong
    }

    /// The module that names something, and the one below it that has it, where both stand in one
    /// order.
    fn stand_the_wrong_way(&self, path: &[String], named: &[String]) -> Option<(String, String)> {
        let place = |order: &[String], name: &String| order.iter().position(|other| other == name);
        let order = &self.modules[&Vec::new()].children;
        let (own, other) = (&path[0], named.first()?);
        if own != other {
            let below = place(order, own)? < place(order, other)?;
            return below.then(|| (own.clone(), other.clone()));
        }
        let stage = &self.modules[&path[..1]];
        if !stage.is_stage {
            return None;
        }
        let name = named.get(1)?;
        let (own, other) = match stage.given_on.get(name) {
            Some(given) if given[0] == path[0] => (path.get(1)?, given.get(1)?),
            _ => (path.get(1)?, name),
        };
        let below = place(&stage.children, own)? < place(&stage.children, other)?;
        below.then(|| (own.clone(), other.clone()))
    }

    /// The modules that use a crate away from its homes.
    fn strays(&self) -> Vec<String> {
        let mut strays = Vec::new();
        for (path, module) in &self.modules {
            let user = path.join("::");
            let is_home = |home: &&str| {
                let rest = user.strip_prefix(*home);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            for name in &module.theirs {
                let homes = HOMES.iter().find(|(known, _)| known == name).map(|(_, homes)| homes);
                if let Some(homes) = homes.filter(|homes| !homes.iter().any(is_home)) {
                    let homes = homes.join(", ");
                    strays.push(format!("{user} uses {name}, which is at home in {homes}"));
                }
            }
        }
        strays
    }
}

/// Where a path leads that is written in a module, `depth` inline modules down; `None` where it does
/// not lead into this crate, or leads by a name that was imported.
fn resolve(here: &[String], depth: usize, names: &[String], children: &[String]) -> Option<Names> {
    let ups = names.iter().take_while(|name| *name == "super").count();
    match names.first()?.as_str() {
        "crate" => Some(names[1..].to_vec()),
        "self" => Some([here, &names[1..]].concat()),
        "super" => {
            let up = here.len().checked_sub(ups.saturating_sub(depth))?;
            Some([&here[..up], &names[ups..]].concat())
        }
        first if children.iter().any(|child| child == first) => Some([here, names].concat()),
        _ => None,
    }
}

/// The names of `[dependencies]`, as the source has them.
fn dependencies() -> BTreeSet<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let names = manifest["dependencies"].as_table().unwrap().keys();
    names.map(|name| name.replace('-', "_")).collect()
}

/// Collects what a text names. Items that are only there for tests are passed over.
#[derive(Default)]
struct Reading {
    /// Inline modules around the present place.
    depth: usize,
    /// Paths, and how deep in inline modules they stand.
    named: Vec<(usize, Names)>,
    children: Vec<String>,
    given_on: Vec<(String, Names)>,
}

impl Reading {
    /// The paths in a text of tokens.
    fn scan(&mut self, tokens: &str) {
        let tokens = tokens.replace(" :: ", "::").replace(":: ", "::").replace(" ::", "::");
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in tokens.split(|c| !is_path(c)).filter(|path| path.contains("::")) {
            let names = path.split("::").filter(|name| !name.is_empty()).map(str::to_owned);
            self.named.push((self.depth, names.collect()));
        }
    }

    fn take_use(&mut self, before: &Names, tree: &UseTree, gives_on: bool) {
        let with = |name: &syn::Ident| [before.clone(), vec![name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.take_use(&with(&path.ident), &path.tree, gives_on),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_use(before, tree, gives_on);
                }
            }
            UseTree::Glob(_) => self.named.push((self.depth, before.clone())),
            UseTree::Name(name) => self.leaf(with(&name.ident), None, gives_on),
            UseTree::Rename(name) => {
                self.leaf(with(&name.ident), Some(name.rename.to_string()), gives_on);
            }
        }
    }

    fn leaf(&mut self, mut names: Names, called: Option<String>, gives_on: bool) {
        if names.len() > 1 && names.last().is_some_and(|name| name == "self") {
            names.pop();
        }
        if gives_on {
            let called = called.or_else(|| names.last().cloned());
            self.given_on.extend(called.map(|called| (called, names.clone())));
        }
        self.named.push((self.depth, names));
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                list.tokens
                    .to_string()
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == "test")
            })
    })
}

impl<'ast> Visit<'ast> for Reading {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_none() {
            self.children.push(item.ident.to_string());
        }
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let gives_on = self.depth == 0 && !matches!(item.vis, syn::Visibility::Inherited);
        self.take_use(&Vec::new(), &item.tree, gives_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        self.named.push((self.depth, names.collect()));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.scan(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Ok(list) = attribute.meta.require_list() {
            self.scan(&list.tokens.to_string());
        }
    }
}
