//! The report of a run is one page that needs nothing, says what happened, and is a page whatever the rows and
//! the server say. Looked at in Chromium, where it is installed (`.ci/run` says where it is not).

use std::fs;
use std::io::Write;
use std::process::Command;

use bkassoc::target::Entrance;

use crate::raw::{Raw, http};
use crate::server::Server;
use crate::workdir::{NN, Workdir, links};

const EVIL: &str =
    "</script><script>document.title='evil'</script><img src=x onerror=\"alert(1)\">' \u{202e}drow";

/// What Chromium makes of a page: the document once its script has run, and what it has to complain of.
fn browse(
    work: &Workdir,
    page: &str,
    fragment: &str,
    options: &[&str],
) -> Option<(String, String)> {
    let address = format!("file://{}#{fragment}", work.path(page).display());
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", work.path("browser").display()))
        .args(options)
        .arg(address)
        .env("LANG", "C.UTF-8")
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), said))
}

/// A run with good rows, bad rows, and texts that try to be more than texts.
fn a_mixed_run(work: &Workdir) {
    let server = Server::esb();
    let evil = format!("\"{}\"", EVIL.replace('"', "\"\""));
    let rows = format!("{NN},999999999,1,1\n{evil},1,2,1\n{NN},{evil},3,1\n");
    work.write("in.csv", links(300) + &rows);
    work.bkassoc("import in.csv --report r.html").to(&server).ends(3);
}

#[test]
fn a_report_says_what_happened_and_loads_nothing() {
    let work = Workdir::new();
    a_mixed_run(&work);
    let page = work.read("r.html");
    assert!(page.starts_with("<!doctype html>\n<!-- bkassoc report -->\n"));
    for said in [
        "303 rows",
        "共 303 行",
        "missing-source",
        "create the instance, or mend <code>inst_id</code> or the name",
        "创建该实例",
        "invalid-row",
        "Rows a second",
        "p50",
        "in.results.csv",
        "1101073",
    ] {
        assert!(page.contains(said), "{said}");
    }
    for loads in
        ["http-equiv=\"refresh\"", " src=\"", "@import", "url(", "<link", "<iframe", "javascript:"]
    {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(page.contains("default-src 'none'") && !page.contains("unsafe"));
    assert_eq!(page.matches("<script").count(), 1, "only ours");
    assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    assert!(page.contains("&lt;/script&gt;") && page.contains("\\u{202e}drow"));
    let history = &work.json("in.results.csv.run.json")["history"];
    let rows = history["rows"].as_array().unwrap();
    assert_eq!(rows.iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), 303);
    assert!(history["latency"]["p50_ms"].as_f64().unwrap() > 0.0);
    assert!(history["calls"]["create"].as_u64().unwrap() >= 300);
}

#[test]
fn what_a_server_says_stays_a_text() {
    let raw = Raw::serve(|asked, stream| {
        if !asked.is_create() {
            return stream.write_all(&asked.honest()).is_ok();
        }
        let said =
            serde_json::json!({"result": false, "code": 1_199_006, "message": EVIL, "data": null});
        stream.write_all(&http(200, "X-Request-Id: <b>\r\n", &said.to_string())).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", links(3));
    let command = work.bkassoc("import in.csv").aim(Entrance::Esb, &raw.url());
    command.ends(3);
    work.bkassoc("report in.results.csv").ends(0).saying(&["in.results.html"]);
    let page = work.read("in.results.html");
    assert!(page.contains("document.title=&#39;evil&#39;"), "it is shown");
    assert!(!page.contains(EVIL) && page.matches("<script").count() == 1 && !page.contains("<img"));
}

#[test]
fn a_browser_shows_filters_and_speaks_two_languages() {
    let work = Workdir::new();
    a_mixed_run(&work);
    let Some((dom, said)) = browse(&work, "r.html", "lang=zh&filter=missing", &["--dump-dom"])
    else {
        return;
    };
    assert_eq!(said, "", "the console is silent");
    assert!(dom.contains("<html lang=\"zh\">"), "{dom}");
    assert!(dom.contains("<title>in.results.csv"), "no text of a row became a script");
    let rows = dom.split("<section id=\"rows\">").nth(1).unwrap();
    assert_eq!((rows.matches("<tr hidden").count(), rows.matches("<tr>").count()), (2, 2));
    assert!(rows.contains("<span id=\"shown\">1</span>"));
    let (dom, said) = browse(&work, "r.html", "lang=en", &["--dump-dom"]).unwrap();
    assert!(said.is_empty() && dom.contains("<html lang=\"en\">") && !dom.contains("<tr hidden"));
    for (width, name) in [(1280, "wide.png"), (390, "narrow.png")] {
        let shot = format!("--screenshot={}", work.path(name).display());
        let window = format!("--window-size={width},2400");
        let (_, said) =
            browse(&work, "r.html", "", &[&shot, &window, "--hide-scrollbars"]).unwrap();
        assert_eq!(said, "");
        let picture = fs::read(work.path(name)).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        // All of one colour it would be a few kilobytes.
        assert!(picture.len() > 20_000, "{name}: {}", picture.len());
        if let Some(folder) = std::env::var_os("REPORT_PICTURES") {
            fs::copy(work.path(name), std::path::Path::new(&folder).join(name)).unwrap();
        }
    }
}

#[test]
fn a_report_takes_no_other_file_s_place_and_is_of_finished_runs() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(2)).write("notes.html", "<p>mine</p>");
    work.bkassoc("report in.results.csv").ends(7).saying(&["there is no finished run"]);
    let import = "import in.csv --report notes.html";
    work.bkassoc(import).to(&server).ends(0).saying(&["no report in notes.html"]);
    assert_eq!(work.read("notes.html"), "<p>mine</p>");
    work.bkassoc("report in.results.csv -o notes.html").ends(2).saying(&["is no report"]);
    work.bkassoc("report in.results.csv -o a.html").ends(0);
    work.bkassoc("report in.results.csv -o a.html").ends(0);
    let printed = work.bkassoc("report in.results.csv -o -").ends(0);
    assert_eq!(printed.stdout, work.read("a.html"));
    let nowhere = "import in.csv -o other.csv --report b.html --connect-timeout 300ms";
    let down = work.bkassoc(nowhere).aim(Entrance::Esb, "http://127.0.0.1:9");
    down.ends(6).saying(&["no report in b.html", "not finished"]);
    assert!(!work.has("b.html"));
}
