//! A secret appears in no byte of anything that is said or written.

use std::fs;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;

use crate::raw::{Raw, http};
use crate::server::Server;
use crate::workdir::{Done, Workdir, links};

const CANARY: &str = "c4n4ry/\"+\\ü secret";

/// The secret in the forms in which a text may carry it.
fn holds_canary(bytes: &[u8]) -> bool {
    let forms = [CANARY, "c4n4ry", "\\\\\\u00fc secret", "%2F%22%2B%5C%C3%BC"];
    let text = String::from_utf8_lossy(bytes);
    forms.iter().any(|form| text.contains(form))
}

#[track_caller]
fn assert_silent(work: &Workdir, done: &Done) {
    assert!(!holds_canary(done.stdout.as_bytes()), "stdout: {}", done.stdout);
    assert!(!holds_canary(done.stderr.as_bytes()), "stderr: {}", done.stderr);
    for name in work.names() {
        let path = work.path(&name);
        if path.is_file() && name != "secret" {
            assert!(!holds_canary(&fs::read(path).unwrap()), "{name}");
        }
    }
}

const FORMATS: [&str; 3] = ["-vv --log-format text", "-vv --log-format json", "--json -q"];

#[test]
fn a_wrong_secret_ends_it_with_8_before_any_create_and_is_not_told() {
    for entrance in [Entrance::Esb, Entrance::Gateway] {
        for format in FORMATS {
            let server = Server::new(entrance);
            let work = Workdir::new();
            work.write("in.csv", links(5));
            let command = work.bkassoc("import in.csv").args(format).to(&server);
            let done = command.env("BK_APP_SECRET", CANARY).ends(8);
            assert_silent(&work, &done);
            assert_eq!(server.calls(Endpoint::Create), 0);
            assert_eq!(work.names(), ["in.csv"]);
        }
    }
}

#[test]
fn a_wrong_token_ends_it_with_8_and_is_not_told() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(5)).write("secret", CANARY);
    let command =
        work.bkassoc("import in.csv -vv --token-file secret --app-code sandbox --endpoint");
    let done = command.arg(server.url()).env("BK_APP_SECRET", "sandbox-secret").ends(8);
    assert_silent(&work, &done);
    assert_eq!(server.calls(Endpoint::Create), 0);
}

#[test]
fn a_missing_secret_is_named_before_anything_is_sent() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(5));
    let command = work.bkassoc("import in.csv --app-code sandbox --username admin --endpoint");
    let _ = command.arg(server.url()).ends(2).saying(&["the app secret is missing"]);
    assert_eq!(server.calls(Endpoint::Create), 0);
}

/// A server that repeats what it was sent in every text it has.
fn echoing() -> Raw {
    Raw::serve(|asked, stream| {
        use std::io::Write;
        if !asked.is_create() {
            return stream.write_all(&asked.honest()).is_ok();
        }
        let sent: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let secret = sent["bk_app_secret"].as_str().unwrap();
        let inst = sent["bk_inst_id"].as_i64().unwrap();
        let message = format!("no {secret}, body {}", asked.body);
        let answer = match inst % 4 {
            0 => serde_json::json!({
                "result": false, "code": 1_199_006, "message": message, "data": null, "request_id": secret,
            })
            .to_string(),
            1 => message,
            2 => serde_json::json!({"result": false, "code": 1_101_073, "message": secret}).to_string(),
            _ => format!("<html>{}</html>", asked.body),
        };
        stream
            .write_all(&http(
                200,
                &format!("X-Request-Id: {}\r\n", secret.replace('ü', "")),
                &answer,
            ))
            .is_ok()
    })
}

#[test]
fn a_secret_that_the_server_repeats_is_not_written() {
    for format in FORMATS {
        let raw = echoing();
        let work = Workdir::new();
        work.write("in.csv", links(8));
        let done = work
            .bkassoc("import in.csv --max-attempts 1 --max-outage 3s --metrics-file m.prom")
            .args(format)
            .aim(Entrance::Esb, &raw.url())
            .env("BK_APP_SECRET", CANARY)
            .run();
        assert!(raw.creates() > 0, "{done:?}");
        let said = ["in.results.csv", "in.results.csv.journal"].into_iter();
        let said: String = said.filter(|name| work.has(name)).map(|name| work.read(name)).collect();
        assert!(work.has("m.prom"), "{done:?}");
        assert!(said.contains("[secret]"), "what was repeated was taken down: {done:?}");
        assert_silent(&work, &done);
    }
}

#[test]
fn journal_results_and_record_of_a_good_run_hold_no_secret() {
    for format in FORMATS {
        let mut secret = None;
        let server = Server::with(Entrance::Esb, |setup| {
            let toml = fs::read_to_string(crate::workdir::samples().join("sandbox.toml")).unwrap();
            let toml = toml.replace("\"sandbox-secret\"", "'c4n4ry-of-a-good-run'");
            setup.models = bkassoc::sandbox::models::Models::from_toml(&toml).unwrap();
            secret = Some("c4n4ry-of-a-good-run");
        });
        let work = Workdir::new();
        work.write("in.csv", links(50)).write("secret", secret.unwrap());
        // The results' draft is in the way: the journal stays to be looked at.
        fs::create_dir(work.path("in.results.csv.draft")).unwrap();
        let import = "import in.csv --app-secret-file secret --metrics-file m.prom --report r.html";
        let command = || work.bkassoc(import).args(format).to(&server);
        let done = command().ends(11);
        assert_silent(&work, &done);
        fs::remove_dir(work.path("in.results.csv.draft")).unwrap();
        let done = command().ends(0);
        assert!(work.read("r.html").contains("in.results.csv"));
        assert!(work.read("m.prom").contains("bkassoc_exit_code{job=\"in.results\"} 0"));
        assert_silent(&work, &done);
    }
}

#[test]
fn a_password_in_a_proxy_is_not_told() {
    let work = Workdir::new();
    work.write("in.csv", links(5));
    for (proxy, code) in
        [("http://user:c4n4ry@127.0.0.1:9", 6), ("http://user:c4n4ry/c4n4ry@127.0.0.1:9", 2)]
    {
        for format in FORMATS {
            let done = work
                .bkassoc("import in.csv --connect-timeout 200ms --endpoint http://192.0.2.1 --app-code a")
                .args("--username u --proxy")
                .arg(proxy)
                .args(format)
                .env("BK_APP_SECRET", "s3cr3t")
                .ends(code);
            assert_silent(&work, &done);
        }
    }
}

#[test]
fn a_password_in_the_endpoint_is_not_told() {
    let work = Workdir::new();
    work.write("in.csv", links(5));
    for endpoint in ["http://user:c4n4ry@127.0.0.1:9", "http://user:c4n4ry/c4n4ry@127.0.0.1:9"] {
        let done = work
            .bkassoc(
                "import in.csv --connect-timeout 200ms --app-code a --username u -vv --endpoint",
            )
            .arg(endpoint)
            .env("BK_APP_SECRET", "s3cr3t")
            .ends(2);
        assert_silent(&work, &done);
    }
}

#[test]
fn a_secret_of_a_few_letters_is_refused_before_anything_is_sent() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(5)).write("short", "abc\n").write("token", "密钥");
    let refused = |flags: &str, secret: &str, says: &[&str]| {
        let command =
            work.bkassoc("import in.csv --app-code sandbox").args(flags).arg("--endpoint");
        let done = command.arg(server.url()).env("BK_APP_SECRET", secret).ends(2);
        done.saying(says);
    };
    let flags = "--username admin";
    refused(flags, "x", &["BK_APP_SECRET: a secret of 1 character can't be kept out"]);
    refused(flags, "***", &["BK_APP_SECRET: a secret of 3 characters"]);
    let flags = "--username admin --app-secret-file short";
    refused(flags, "", &["--app-secret-file: a secret of 3 characters"]);
    refused("--token-file token", "sandbox-secret", &["--token-file: a secret of 2 characters"]);
    assert_eq!(server.all_calls(), 0);
    // An apiserver takes no secret, so that none is read.
    let native = Server::new(Entrance::Native);
    work.bkassoc("import in.csv").to(&native).env("BK_APP_SECRET", "x").ends(0);
}

#[test]
fn a_secret_is_never_a_flags_value() {
    for flag in ["--app-secret", "--token", "--bk-token", "--secret"] {
        let work = Workdir::new();
        work.write("in.csv", links(1));
        let command = work.bkassoc("import in.csv --sandbox -o out.csv").arg(flag).arg("x");
        let unexpected = format!("unexpected argument '{flag}' found");
        let _ = command.ends(2).saying(&[&unexpected]);
    }
}
