use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::cli::{Check, Command, Import, Rerun, Sandbox, Undo, Verify};
use crate::options::{Format, Proxy, Rate};
use crate::target::{Entrance, Secret};

/// A machine with its variables, its files and nothing else.
struct Machine {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
    asked: RefCell<BTreeSet<String>>,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
            asked: RefCell::default(),
        }
    }

    /// A machine on which everything that esb needs is set by fallbacks.
    fn ready() -> Self {
        Self::new()
            .set("BKASSOC_ENDPOINT", "https://paas.example.com")
            .set("BK_APP_CODE", "app")
            .set("BK_APP_SECRET", "canary-secret")
            .set("BK_USERNAME", "admin")
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn unset(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn resolve<A: ServerCommand>(
        typed: &Typed,
        environment: &Environment<'_>,
        parent: Option<&Parent>,
    ) -> Result<Config, ConfigError> {
        resolve::<A>(typed, environment, parent).map(|(_, config)| config)
    }

    /// `/folder/` in a line stands for the machine's own folder.
    fn run_from(&self, line: &str, parent: Option<&Parent>) -> Result<Config, ConfigError> {
        let folder = self.folder.path().to_str().unwrap();
        let argv = line.split(' ').map(|word| word.replace("/folder", folder).into());
        let typed = Typed::parse(argv).unwrap();
        let system_config = self.path("etc/config.toml");
        let variable = |name: &str| {
            self.asked.borrow_mut().insert(name.to_owned());
            let value = self.variables.get(name)?;
            Some(value.replace("/folder", folder).into())
        };
        let environment = Environment {
            variable: &variable,
            names: &|| self.variables.keys().map(OsString::from).collect(),
            system_config: &system_config,
            today: jiff::civil::date(2026, 2, 3),
        };
        match typed.command() {
            Command::Import(_) => Self::resolve::<Import>(&typed, &environment, parent),
            Command::Check(_) => Self::resolve::<Check>(&typed, &environment, parent),
            Command::Rerun(_) => Self::resolve::<Rerun>(&typed, &environment, parent),
            Command::Undo(_) => Self::resolve::<Undo>(&typed, &environment, parent),
            Command::Verify(_) => Self::resolve::<Verify>(&typed, &environment, parent),
            command => panic!("{command:?} calls no server"),
        }
    }

    fn run(&self, line: &str) -> Result<Config, ConfigError> {
        self.run_from(line, None)
    }

    fn error(&self, line: &str) -> String {
        let folder = self.folder.path().to_str().unwrap();
        (self.run(line).unwrap_err().to_string()).replace(folder, "/folder")
    }

    fn connection(&self, line: &str) -> Connection {
        self.run(line).unwrap().connection.unwrap()
    }
}

fn parent(endpoint: &str) -> Parent {
    Parent {
        file: "a.results.csv.run.json".into(),
        target: Target {
            entrance: Entrance::Esb,
            endpoint: endpoint.to_owned(),
            supplier_account: "0".to_owned(),
            tenant_id: None,
        },
        options: [("rate".to_owned(), vec!["7".to_owned()])].into(),
    }
}

#[test]
fn each_layer_wins_over_the_one_beneath_and_the_target_says_where_it_comes_from() {
    let machine = Machine::ready()
        .unset("BKASSOC_ENDPOINT")
        .file("etc/config.toml", "[default]\nendpoint = 'https://c'\nrate = 3");
    let target = |machine: &Machine, line: &str| {
        let config = machine.run(line).unwrap();
        let connection = config.connection.unwrap();
        let origin = connection.origin.replace(machine.folder.path().to_str().unwrap(), "/folder");
        (connection.target.endpoint, origin, config.engine.rate)
    };
    let expected = |endpoint: &str, origin: &str, rate: f64| {
        (endpoint.to_owned(), origin.to_owned(), Rate::PerSecond(rate))
    };
    assert_eq!(
        target(&machine, "b import a.csv"),
        expected("https://c", "profile \"default\" of /folder/etc/config.toml", 3.0)
    );
    let machine = machine.set("BKASSOC_ENDPOINT", "https://b").set("BKASSOC_RATE", "2");
    assert_eq!(target(&machine, "b import a.csv"), expected("https://b", "BKASSOC_ENDPOINT", 2.0));
    assert_eq!(
        target(&machine, "b import a.csv --endpoint https://a --rate 1"),
        expected("https://a", "--endpoint", 1.0)
    );
    let machine = machine.set("BKASSOC_ENDPOINT", "");
    assert_eq!(target(&machine, "b import a.csv").0, "https://c");
}

#[test]
fn the_defaults_of_the_flags_are_those_of_the_engine() {
    let config = Machine::ready().run("b import a.csv").unwrap();
    assert_eq!(config.engine, EngineOptions::default());
}

#[test]
fn the_first_configuration_file_there_is_counts_and_home_may_be_unset() {
    let user = |machine: Machine| {
        let config = machine.run("b check --offline a.csv").unwrap();
        config.engine.concurrency
    };
    let machine = || Machine::new().file("etc/config.toml", "[default]\nconcurrency = 1");
    assert_eq!(user(machine()), 1);
    let home = machine().file("home/.config/bkassoc/config.toml", "[default]\nconcurrency = 2");
    let home = home.set("HOME", "/folder/home");
    assert_eq!(user(home), 2);
    let xdg = machine().file("xdg/bkassoc/config.toml", "[default]\nconcurrency = 3");
    let xdg = xdg.set("HOME", "/folder/home").set("XDG_CONFIG_HOME", "/folder/xdg");
    assert_eq!(user(xdg), 3);
    let named = machine().file("mine.toml", "[default]\nconcurrency = 4");
    assert_eq!(user(named.set("BKASSOC_CONFIG", "/folder/mine.toml")), 4);
    let relative = machine().set("XDG_CONFIG_HOME", "xdg").set("HOME", "");
    assert_eq!(user(relative), 1);
}

#[test]
fn a_profile_is_taken_by_its_name() {
    let machine = Machine::new().file(
        "etc/config.toml",
        "[default]\nconcurrency = 1\n[prod]\nconcurrency = 2\nmax-duration = '1h'\n[x]",
    );
    let concurrency = |machine: &Machine, line: &str| machine.run(line).unwrap().engine.concurrency;
    assert_eq!(concurrency(&machine, "b check --offline a.csv --profile prod"), 2);
    assert_eq!(concurrency(&machine, "b check --offline a.csv --profile x"), 32);
    assert_eq!(
        machine.error("b check --offline a.csv --profile y"),
        "there is no profile \"y\": /folder/etc/config.toml has default, prod, x"
    );
    let machine = machine.set("BKASSOC_PROFILE", "prod");
    assert_eq!(concurrency(&machine, "b check --offline a.csv"), 2);
    assert_eq!(
        Machine::new().error("b check --offline a.csv --profile y"),
        "there is no profile \"y\": no configuration file was found"
    );
}

#[test]
fn what_is_wrong_with_a_profile_is_told_with_file_and_key_and_without_values() {
    let file = "configuration file /folder/etc/config.toml";
    for (text, error) in [
        ("[default]\nratte = 1", ", profile \"default\": there is no key `ratte`"),
        ("[default]\nsandbox = true", ", profile \"default\": there is no key `sandbox`"),
        ("[default]\nprofile = 'x'", ", profile \"default\": there is no key `profile`"),
        (
            "[default]\ntoken = 'canary'",
            ", profile \"default\": `token` must not stand in a profile; give `token_file`, the \
             path of a file that holds it",
        ),
        (
            "[default]\nmax_outage = '1m'\nmax-outage = '2m'",
            ", profile \"default\": `max_outage` is given twice, with - and with _",
        ),
        (
            "[default]\nrate = {}",
            ", profile \"default\": `rate` is neither a text, a number, a switch nor a list of \
             these",
        ),
        (
            "app_secret = 'canary'",
            ": `app_secret` stands outside of any profile; put it below a line such as [default]",
        ),
    ] {
        let machine = Machine::new().file("etc/config.toml", text);
        let said = machine.error("b check --offline a.csv");
        assert_eq!(said, format!("{file}{error}"), "{text}");
    }
    let machine = Machine::new().file("etc/config.toml", "[default]\n\napp_secret = canary");
    let said = machine.error("b check --offline a.csv");
    assert!(said.starts_with(&format!("{file}, line 3: ")), "{said}");
    assert!(!said.contains("canary"), "{said}");
    let said = Machine::new().error("b check --offline a.csv --config /folder/none.toml");
    assert!(said.starts_with("configuration file /folder/none.toml: "), "{said}");
}

#[test]
fn the_more_direct_of_username_and_token_is_sent_alone_and_the_username_where_they_are_equal() {
    let cases = [
        // typed, variable, profile, fallback: where the username stands, and where the token does.
        ("u t", "", "", "", "flag"),
        ("u", "", "", "t", "flag"),
        ("t", "u", "", "", "token"),
        ("", "u t", "", "", "variable"),
        ("", "t", "u", "", "token"),
        ("", "", "u t", "", "profile"),
        ("", "", "t", "u", "token"),
        ("", "", "u", "t", "profile"),
        ("", "", "", "u t", "fallback"),
        ("", "", "", "t", "fallback token"),
        ("", "", "t", "", "token"),
    ];
    for (typed, variable, profile, fallback, expected) in cases {
        let mut machine = Machine::ready().unset("BK_USERNAME").file("token", "token\n");
        let mut line = "b import a.csv".to_owned();
        let mut table = "[default]\n".to_owned();
        if typed.contains('u') {
            line.push_str(" --username flag");
        }
        if typed.contains('t') {
            line.push_str(" --token-file /folder/token");
        }
        if variable.contains('u') {
            machine = machine.set("BKASSOC_USERNAME", "variable");
        }
        if variable.contains('t') {
            machine = machine.set("BKASSOC_TOKEN_FILE", "/folder/token");
        }
        if profile.contains('u') {
            table.push_str("username = 'profile'\n");
        }
        if profile.contains('t') {
            table.push_str("token_file = '../token'\n");
        }
        if fallback.contains('u') {
            machine = machine.set("BK_USERNAME", "fallback");
        }
        if fallback.contains('t') {
            machine = machine.set("BK_TOKEN", "fallback token");
        }
        let identity = machine.file("etc/config.toml", &table).connection(&line).identity;
        let case = format!("{typed:?} {variable:?} {profile:?} {fallback:?}");
        let sent = match (&identity.username, &identity.token) {
            (Some(username), None) => username,
            (None, Some(token)) => token.expose(),
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!(sent, expected, "{case}");
    }
}

#[test]
fn a_secret_is_read_from_its_file_without_the_end_of_its_line() {
    let machine = Machine::ready().file("secret", " s3 p \r\n").file("empty", "\n");
    let connection = machine.connection("b import a.csv --app-secret-file /folder/secret");
    assert_eq!(connection.identity.app_secret, Some(Secret::new(" s3 p ")));
    assert_eq!(
        machine.error("b import a.csv --app-secret-file /folder/empty"),
        "--app-secret-file: the file /folder/empty is empty"
    );
    let machine = machine.set("BKASSOC_APP_SECRET_FILE", "/folder/none");
    let error = machine.error("b import a.csv");
    assert!(
        error.starts_with("BKASSOC_APP_SECRET_FILE: the file /folder/none can't be read: "),
        "{error}"
    );
}

#[test]
fn a_token_that_is_not_sent_is_not_even_read() {
    let machine = Machine::ready().set("BKASSOC_TOKEN_FILE", "/folder/none");
    let identity = machine.connection("b import a.csv --username me").identity;
    assert_eq!(identity.username.as_deref(), Some("me"));
}

#[cfg(unix)]
#[test]
fn a_secret_that_everyone_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::ready().file("secret", "s3cr3t");
    let warnings = |mode: u32| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(machine.path("secret"), permissions).unwrap();
        let config = machine.run("b import a.csv --app-secret-file /folder/secret").unwrap();
        config.warnings
    };
    assert_eq!(warnings(0o600), [""; 0]);
    assert_eq!(warnings(0o640), [""; 0]);
    assert!(warnings(0o644)[0].contains("everyone on this machine can read this secret"));
}

#[test]
fn the_announcement_says_where_it_goes_and_holds_no_secret() {
    let machine = Machine::ready();
    let announced = |line: &str| {
        let config = machine.run(line).unwrap();
        let connection = config.connection.as_ref().unwrap();
        let announcement = connection.announcement(config.engine.rate);
        for text in [&announcement, &format!("{config:?}")] {
            assert!(!text.contains("canary"), "{text}");
        }
        announcement
    };
    assert_eq!(
        announced("b import a.csv"),
        "to https://paas.example.com (esb) from BKASSOC_ENDPOINT, app app, user admin, proxy none, \
         CA system, rate 90/s"
    );
    assert_eq!(
        announced(
            "b import a.csv --proxy http://u:canary@p:1 --ca-cert ca.pem --rate unlimited \
             --supplier-account x --tenant-id t --entrance esb"
        ),
        "to https://paas.example.com (esb) account x tenant t from BKASSOC_ENDPOINT, app app, user \
         admin, proxy http://***@p:1, CA system and ca.pem, rate unlimited"
    );
    assert_eq!(announced("b import a.csv --sandbox"), "to sandbox (esb) from --sandbox");
    let machine = Machine::ready()
        .unset("BK_USERNAME")
        .set("BK_TOKEN", "canary-token")
        .set("HTTPS_PROXY", "http://u:canary@q:2");
    let config = machine.run("b import a.csv --insecure").unwrap();
    let announcement = config.connection.unwrap().announcement(config.engine.rate);
    assert_eq!(
        announcement,
        "to https://paas.example.com (esb) from BKASSOC_ENDPOINT, app app, user as the token says, \
         proxy http://***@q:2 (HTTPS_PROXY), CA not verified, rate 90/s"
    );
    assert_eq!(config.warnings, ["--insecure: the server's certificate is not verified"]);
}

#[test]
fn a_sandbox_takes_nothing_of_the_real_world() {
    let machine = Machine::ready()
        .set("BKASSOC_APP_SECRET_FILE", "/folder/none")
        .set("BKASSOC_ENTRANCE", "native")
        .set("BKASSOC_RATE", "5");
    let config = machine.run("b import a.csv --sandbox --token-file /folder/none").unwrap();
    let connection = config.connection.unwrap();
    assert_eq!(connection.target.endpoint, Target::SANDBOX);
    assert_eq!(connection.target.entrance, Entrance::Esb);
    assert_eq!(connection.identity.secrets().count(), 0);
    assert_eq!(config.engine.rate, Rate::PerSecond(5.0));
    assert!(config.results.replace);
    assert_eq!(config.results.output, Output::File("a.sandbox.results.csv".into()));
    let asked = machine.asked.borrow();
    let real = ["BK_APP_SECRET", "BK_TOKEN", "BK_APP_CODE", "BK_USERNAME"];
    assert!(real.iter().all(|name| !asked.contains(*name)), "{asked:?}");
}

#[test]
fn what_an_entrance_needs_is_asked_for_before_anything_is_sent() {
    let machine = Machine::new().set("BKASSOC_ENDPOINT", "https://h");
    assert_eq!(
        Machine::new().error("b import a.csv"),
        "where to? give --endpoint URL, BKASSOC_ENDPOINT or `endpoint` in a profile (or try \
         --sandbox)"
    );
    assert_eq!(
        machine.error("b import a.csv"),
        "the app code is missing: give --app-code or BK_APP_CODE (needed for --entrance esb)"
    );
    let machine = machine.set("BKPAAS_APP_ID", "app");
    assert!(machine.error("b import a.csv").starts_with("the app secret is missing: "));
    let machine = machine.set("BKPAAS_APP_SECRET", "secret");
    assert!(machine.error("b import a.csv").starts_with("a user is missing: "));
    assert_eq!(
        machine.error("b import a.csv --entrance gateway"),
        "a user is missing: give --username, or --token-file PATH with a user's bk_token (needed for \
         --entrance gateway)"
    );
    machine.connection("b import a.csv --entrance gateway --username x");
    assert_eq!(
        machine.error("b import a.csv --entrance native"),
        "the username is missing: give --username or BK_USERNAME (needed for --entrance native)"
    );
    let identity = machine.connection("b import a.csv --entrance native --username x").identity;
    assert_eq!(identity.secrets().count(), 0);
}

#[test]
fn an_account_that_the_gateway_would_put_another_in_place_of_is_refused() {
    let machine = Machine::ready().set("BKASSOC_SUPPLIER_ACCOUNT", "tencent");
    let error = machine.error("b import a.csv --entrance gateway");
    let says = "BKASSOC_SUPPLIER_ACCOUNT: the supplier account tencent has no effect at --entrance gateway";
    assert!(error.starts_with(says), "{error}");
    machine.connection("b import a.csv --entrance gateway --supplier-account 0");
    for entrance in ["esb", "native"] {
        let target = machine.connection(&format!("b import a.csv --entrance {entrance}")).target;
        assert_eq!(target.supplier_account, "tencent");
    }
}

#[test]
fn an_endpoint_that_is_none_is_blamed_on_its_place() {
    let machine = Machine::ready().set("BKASSOC_ENDPOINT", "http://u:canary@h");
    assert_eq!(
        machine.error("b import a.csv"),
        "BKASSOC_ENDPOINT: the endpoint http://***@h must not hold a user or a password"
    );
}

#[test]
fn a_business_is_required_where_one_is_sent() {
    let machine = Machine::ready();
    for (line, sent) in [
        ("b import a.csv", true),
        ("b import a.csv --send-biz-id never", false),
        ("b import a.csv --entrance gateway", false),
        ("b import a.csv --entrance native --send-biz-id always", true),
        ("b rerun a.results.csv", true),
        ("b undo a.results.csv", false),
    ] {
        let config = machine.run(line).unwrap();
        let (sends, requires) = (config.engine.send_biz_id, config.input.require_biz_id);
        assert_eq!((sends, requires), (sent, sent), "{line}");
    }
}

#[test]
fn results_go_where_they_are_told_to_or_beside_their_input() {
    let machine = Machine::ready().set("BKASSOC_YES", "1");
    let at = |line: &str| machine.run(line).unwrap().results;
    let file = |path: &str| Output::File(path.into());
    for (line, output, format) in [
        ("b import a.csv", file("a.results.csv"), Format::Csv),
        ("b import a.jsonl.gz", file("a.results.jsonl"), Format::Jsonl),
        ("b import a.csv -n", file("a.check.csv"), Format::Csv),
        ("b import - -o x-{date}.tsv", file("x-2026-02-03.tsv"), Format::Tsv),
        ("b import a.csv b.csv -o x.jsonl", file("x.jsonl"), Format::Jsonl),
        ("b import a.jsonl -o -", Output::Stdout, Format::Jsonl),
        ("b import - -o -", Output::Stdout, Format::Csv),
        ("b check", Output::Nowhere, Format::Csv),
        ("b check -", Output::Nowhere, Format::Csv),
        ("b check a.csv", file("a.check.csv"), Format::Csv),
        ("b rerun a.results.csv", file("a.rerun-1.csv"), Format::Csv),
        ("b undo a.rerun-1.tsv", file("a.rerun-1.undo.tsv"), Format::Tsv),
        ("b verify a.results.csv --live", Output::Nowhere, Format::Csv),
    ] {
        let results = at(line);
        assert_eq!((results.output, results.format), (output, format), "{line}");
        assert!(!results.yes, "--yes is a flag only");
    }
    assert!(at("b check a.csv").replace && !at("b import a.csv").replace);
    assert!(at("b import a.csv --fresh --yes").yes);
}

#[test]
fn a_results_path_that_must_be_given_or_can_not_be_is_told_so() {
    let machine = Machine::ready().file("a.csv", "");
    for (line, error) in [
        ("b import -", "give -o RESULTS: rows from stdin have no name to derive one from"),
        ("b import a.csv b.csv", "give -o RESULTS: there is more than one input"),
        ("b import a.csv -o x.txt", "--output x.txt: results end in .csv, .tsv, .jsonl or .xlsx"),
        (
            "b import /folder/a.csv -o /folder/./a.csv",
            "/folder/./a.csv is read by this command, so results can't go there: give another -o",
        ),
        (
            "b rerun a.results.csv -o a.results.csv",
            "a.results.csv is read by this command, so results can't go there: give another -o",
        ),
    ] {
        assert_eq!(machine.error(line), error, "{line}");
    }
}

#[test]
fn a_rerun_takes_target_and_options_from_the_run_before_it() {
    let machine = Machine::ready().unset("BKASSOC_ENDPOINT");
    let parent = parent("https://paas.example.com");
    let config = machine.run_from("b rerun a.results.csv", Some(&parent)).unwrap();
    let connection = config.connection.unwrap();
    assert_eq!(connection.target, parent.target);
    assert_eq!(connection.origin, "a.results.csv.run.json");
    assert_eq!(config.engine.rate, Rate::PerSecond(7.0));
    let faster = machine.run_from("b rerun a.results.csv --rate 8", Some(&parent)).unwrap();
    assert_eq!(faster.engine.rate, Rate::PerSecond(8.0));
}

#[test]
fn another_target_than_that_of_the_results_is_refused_unless_allowed() {
    let machine = Machine::ready();
    let parent = parent("https://other.example.com");
    for line in ["b rerun r.csv", "b undo r.csv", "b verify r.csv --live", "b undo r.csv --sandbox"]
    {
        let error = machine.run_from(line, Some(&parent)).unwrap_err();
        assert!(matches!(error, ConfigError::OtherTarget { .. }), "{line}: {error}");
        let allowed = format!("{line} --allow-other-target");
        machine.run_from(&allowed, Some(&parent)).unwrap();
    }
    let error = machine.run_from("b rerun r.csv", Some(&parent)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the results come from https://other.example.com (esb), as a.results.csv.run.json says, but \
         BKASSOC_ENDPOINT says https://paas.example.com (esb): ids differ between CMDBs; give \
         --allow-other-target if they are the same"
    );
    machine.run_from("b verify r.csv", Some(&parent)).unwrap();
}

#[test]
fn what_starts_from_a_sandboxs_results_stays_in_the_sandbox() {
    let machine = Machine::ready();
    let parent = parent(Target::SANDBOX);
    let config = machine.run_from("b rerun a.sandbox.results.csv", Some(&parent)).unwrap();
    let connection = config.connection.unwrap();
    assert_eq!(connection.target.endpoint, Target::SANDBOX);
    assert_eq!(connection.identity.secrets().count(), 0);
}

#[test]
fn commands_without_a_target_take_variables_too_and_read_no_profile() {
    let machine = Machine::new().file("etc/config.toml", "no = toml at all");
    let typed = Typed::parse(["b", "sandbox"].map(OsString::from)).unwrap();
    let variable = |name: &str| (name == "BKASSOC_LISTEN").then(|| "127.0.0.1:0".into());
    let environment = Environment {
        variable: &variable,
        names: &Vec::new,
        system_config: &machine.path("etc/config.toml"),
        today: jiff::civil::date(2026, 2, 3),
    };
    let Ok((sandbox, _)) = plain::<Sandbox>(&typed, &environment) else {
        panic!("another command");
    };
    assert_eq!(sandbox.listen.port(), 0);
}

#[test]
fn a_list_in_a_variable_is_split_at_semicolons() {
    let machine = Machine::ready()
        .set("BKASSOC_MAP", "inst_id=源 实例;asst_inst_id=b")
        .set("BKASSOC_MODEL", "a=b,c;d=e,f,n:n");
    let config = machine.run("b import a.csv").unwrap();
    assert_eq!(config.input.map.len(), 2);
    assert_eq!(config.input.map[0].1, "源 实例");
    assert_eq!(config.engine.models.len(), 2);
}

#[test]
fn a_proxy_that_is_none_is_blamed_on_its_place_and_not_shown() {
    let machine = Machine::ready().set("BKASSOC_PROXY", "socks5://u:canary@h:1");
    let what = "the proxy is no URL of an HTTP proxy, such as http://proxy.example.com:3128; \
                `none` goes without one";
    assert_eq!(machine.error("b import a.csv"), format!("BKASSOC_PROXY: {what}"));
    assert_eq!(machine.error("b import a.csv --proxy h:3128"), format!("--proxy: {what}"));
    let machine = machine.unset("BKASSOC_PROXY").set("https_proxy", "socks5://u:canary@h:1");
    assert!(machine.run("b import a.csv").is_ok(), "the client refuses it, as all of the target");
}

#[test]
fn a_proxy_is_what_was_given_else_the_environments() {
    let machine = Machine::ready().set("http_proxy", "u:pw@p:1").set("HTTP_PROXY", "http://q:1");
    let proxy = |machine: &Machine, line: &str| machine.connection(line).http.proxy;
    let to_plain = "b import a.csv --endpoint http://h";
    assert_eq!(proxy(&machine, "b import a.csv"), Proxy::None, "of another scheme");
    assert_eq!(proxy(&machine, to_plain).to_string(), "http://***@p:1 (http_proxy)");
    assert_eq!(proxy(&machine, "b import a.csv --endpoint http://h --proxy none"), Proxy::None);
    assert_eq!(proxy(&machine, "b import a.csv --endpoint http://[::1]:8080"), Proxy::None);
    let given = proxy(&machine, "b import a.csv --endpoint http://h --proxy http://r:1");
    assert_eq!(given.to_string(), "http://r:1");
    let machine = Machine::ready().set("ALL_PROXY", "http://s:1").set("NO_PROXY", "x");
    let but_for = "http://s:1 (ALL_PROXY, but for no_proxy)";
    assert_eq!(proxy(&machine, to_plain).to_string(), but_for);
    let machine = machine.set("NO_PROXY", "x, *");
    assert_eq!(proxy(&machine, to_plain), Proxy::None);
}
