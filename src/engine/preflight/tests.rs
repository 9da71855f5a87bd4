use std::cell::RefCell;

use super::*;
use crate::cmdb::wire::{Answer, Attributes, InstanceCall, Instances, Page, RateHint};
use crate::engine::stats::Bottleneck;
use crate::options::{self, EngineOptions, Language};
use crate::sandbox::{self, Sandbox, Setup};
use crate::target::Entrance;

/// Gives these replies, one a call, and then none any more.
struct Script {
    replies: RefCell<Vec<Reply>>,
    asked: RefCell<Vec<(Instant, Request)>>,
}

impl Script {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: Vec<_> = replies.into_iter().collect();
        replies.reverse();
        Self { replies: RefCell::new(replies), asked: RefCell::default() }
    }

    fn seconds(&self, since: Instant) -> Vec<u64> {
        self.asked.borrow().iter().map(|(at, _)| (*at - since).as_secs()).collect()
    }
}

impl Cmdb for Script {
    async fn call(&self, request: Request) -> Reply {
        self.asked.borrow_mut().push((Instant::now(), request));
        let reply = self.replies.borrow_mut().pop();
        reply.unwrap_or_else(|| Reply::NotSent("connection refused".to_owned()))
    }
}

fn says(body: &str) -> Reply {
    let envelope = Envelope::parse(body.as_bytes());
    Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
}

fn knows(name: &str) -> Reply {
    says(&format!(
        r#"{{"result":true,"code":0,"data":[{{"bk_obj_asst_id":"{name}","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"1:n"}}]}}"#
    ))
}

fn target() -> Target {
    Target {
        entrance: Entrance::Esb,
        endpoint: "https://paas.example.com".to_owned(),
        supplier_account: "0".to_owned(),
        tenant_id: None,
    }
}

fn wanted(names: &[&str]) -> Models {
    let mut models = Models::default();
    for &name in names {
        models.look(&name.into());
    }
    models
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_asked_once_a_second_until_the_connect_timeout() {
    let (script, target) = (Script::new([]), target());
    let options =
        EngineOptions { connect_timeout: Duration::from_secs(5), ..EngineOptions::default() };
    let started = Instant::now();
    let asker = Asker::new(&script, &target, &options, 1, 1);
    let halt = asker.ask_for(&mut wanted(&["a"])).await.unwrap_err();
    assert_eq!(halt.exit, Exit::Outage);
    assert!(halt.message.contains("within 5s (connection refused)"), "{}", halt.message);
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(script.seconds(started), [0, 1, 2, 3, 4]);
}

/// A call that hangs is no reason to wait longer than was asked for.
#[tokio::test(start_paused = true)]
async fn the_connect_timeout_ends_a_call_that_hangs() {
    struct Hangs;
    impl Cmdb for Hangs {
        async fn call(&self, _: Request) -> Reply {
            std::future::pending().await
        }
    }
    let (target, options) = (target(), EngineOptions::default());
    let started = Instant::now();
    let asker = Asker::new(&Hangs, &target, &options, 1, 1);
    let halt = asker.test().await.unwrap_err();
    assert_eq!((halt.exit, started.elapsed()), (Exit::Outage, options.connect_timeout));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_answering_is_waited_for_as_long_as_an_outage_may_last() {
    let (script, target) = (Script::new([knows("a")]), target());
    let options = EngineOptions::default();
    let started = Instant::now();
    let asker = Asker::new(&script, &target, &options, 1, 1);
    asker.ask_for(&mut wanted(&["a"])).await.unwrap();
    assert!(asker.is_proven());
    let halt = asker.ask_for(&mut wanted(&["b"])).await.unwrap_err();
    assert_eq!((halt.exit, started.elapsed()), (Exit::Outage, options.max_outage));
    assert!(halt.message.contains("connection refused"), "{}", halt.message);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_run_ends_its_questions_too() {
    let (script, target) = (Script::new([]), target());
    let most = Some(Duration::from_secs(2));
    let options = EngineOptions { max_duration: most, ..EngineOptions::default() };
    let asker = Asker::new(&script, &target, &options, 1, 1);
    let halt = asker.ask_for(&mut wanted(&["a"])).await.unwrap_err();
    assert_eq!(halt.exit, Exit::MaxDuration);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_forbidden_names_the_flag_that_answers_it() {
    for body in [
        r#"{"result":false,"code":1306403,"message":"APP permission is insufficient"}"#,
        r#"{"result":false,"bk_error_code":9900403,"bk_error_msg":"no permission"}"#,
    ] {
        let (script, target) = (Script::new([says(body)]), target());
        let options = EngineOptions::default();
        let asker = Asker::new(&script, &target, &options, 1, 1);
        let halt = asker.ask_for(&mut wanted(&["a_run_b"])).await.unwrap_err();
        assert_eq!(halt.exit, Exit::Target);
        assert!(halt.message.contains("--model a_run_b=SOURCE_MODEL"), "{}", halt.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_limit_is_waited_out() {
    let limit = Answer {
        status: 429,
        rate: RateHint { retry_after: Some(Duration::from_secs(7)), ..RateHint::default() },
        ..Answer::default()
    };
    let script = Script::new([Reply::Answered(limit), knows("a")]);
    let (target, options) = (target(), EngineOptions::default());
    let started = Instant::now();
    let asker = Asker::new(&script, &target, &options, 1, 1);
    asker.ask_for(&mut wanted(&["a"])).await.unwrap();
    assert_eq!(script.seconds(started), [0, 7]);
    assert_eq!((asker.stats.borrow().calls.throttled, asker.stats.borrow().calls.retries), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_model_association_that_can_not_be_used_is_not_asked_for_again() {
    let data = r#"[{"bk_obj_asst_id":"a"},{"bk_obj_asst_id":"b","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"2:2"}]"#;
    let script = Script::new([says(&format!(r#"{{"result":true,"code":0,"data":{data}}}"#))]);
    let (target, options) = (target(), EngineOptions::default());
    let asker = Asker::new(&script, &target, &options, 1, 1);
    asker.ask_for(&mut wanted(&["a", "b"])).await.unwrap();
    assert_eq!(asker.stats.borrow().calls.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_names_travel_together() {
    let script = Script::new([knows("n0"), knows("n200")]);
    let (target, options) = (target(), EngineOptions::default());
    let asker = Asker::new(&script, &target, &options, 1, 1);
    let names: Vec<String> = (0..201).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    asker.ask_for(&mut wanted(&names)).await.unwrap();
    assert_eq!(asker.stats.borrow().calls.count(CallKind::Models), 2);
}

#[tokio::test(start_paused = true)]
async fn where_models_are_given_the_test_of_the_contact_does_not_ask_for_them() {
    let nothing = || says(r#"{"result":true,"code":0,"data":[]}"#);
    for (models, finds) in [(vec![], false), (vec!["a=s,t,1:n"], true)] {
        let script = Script::new([nothing()]);
        let models = models.into_iter().map(|text| options::model(text).unwrap()).collect();
        let (target, options) = (target(), EngineOptions { models, ..EngineOptions::default() });
        let asker = Asker::new(&script, &target, &options, 1, 1);
        asker.test().await.unwrap();
        assert!(asker.is_proven());
        let asked = script.asked.borrow();
        assert_eq!(matches!(asked[..], [(_, Request::Find(_))]), finds);
    }
}

/// What an old ESB says to each question about instances, and a newer one.
#[tokio::test(start_paused = true)]
async fn a_call_that_the_entrance_lacks_is_told_from_one_that_it_refuses() {
    let asked = |call: InstanceCall, obj_id: &str| {
        Request::Instances(Instances {
            call,
            obj_id: obj_id.into(),
            any_of: None,
            fields: vec![call.id_field().into()],
            page: Page { after: None, start: 0, limit: 1 },
        })
    };
    let attributes = Attributes { obj_id: "biz".into(), language: Language::Zh };
    let questions = [
        (Request::Attributes(attributes), Query::NoSuchCall, Query::Answered),
        (
            asked(InstanceCall::SearchObjectInstances, "bk_switch"),
            Query::NoSuchCall,
            Query::Answered,
        ),
        (asked(InstanceCall::SearchInst, "bk_switch"), Query::NoSuchCall, Query::Answered),
        (asked(InstanceCall::SearchInst, "biz"), Query::NoSuchCall, Query::Rejected),
        (asked(InstanceCall::SearchBusiness, "biz"), Query::Answered, Query::Answered),
    ];
    for old_esb in [true, false] {
        let mut setup = Setup::new(sandbox::models::Models::sample());
        setup.old_esb = old_esb;
        let sandbox = Sandbox::new(setup).unwrap();
        let (target, options) = (target(), EngineOptions::default());
        let asker = Asker::new(&sandbox, &target, &options, 1, 1);
        asker.test().await.unwrap();
        for (request, old, new) in &questions {
            let (_, query) = asker.ask(CallKind::Names, request.clone()).await.unwrap();
            assert_eq!(query, if old_esb { *old } else { *new }, "{request:?}");
        }
        assert_eq!(asker.stats.borrow().calls.count(CallKind::Names), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn what_questions_wait_for_is_counted_with_the_time_that_answers_take() {
    let mut setup = Setup::new(sandbox::models::Models::sample());
    setup.latency = Duration::from_millis(400);
    let sandbox = Sandbox::new(setup).unwrap();
    let (target, options) = (target(), EngineOptions::default());
    let asker = Asker::new(&sandbox, &target, &options, 1, 1);
    for _ in 0..5 {
        asker.test().await.unwrap();
    }
    let most = asker.stats.borrow().calls.holds.most();
    assert!(matches!(most, Some((Bottleneck::Concurrency, 0.9..))), "{most:?}");
    let nobody = Script::new([]);
    let asker = Asker::new(&nobody, &target, &options, 1, 1);
    asker.test().await.unwrap_err();
    let most = asker.stats.borrow().calls.holds.most();
    assert!(matches!(most, Some((Bottleneck::Outage, 0.9..))), "{most:?}");
}

#[test]
fn trouble_under_another_request_id_is_no_news() {
    let mut logged = None;
    let mut last_logged = |id: &str, code: i64| {
        let body = format!(r#"{{"result":false,"code":{code},"message":"m","request_id":"{id}"}}"#);
        let envelope = Envelope::parse(body.as_bytes());
        let request_id = Some(id.to_owned());
        log_trouble(
            &Reply::Answered(Answer { envelope, request_id, ..Answer::default() }),
            &mut logged,
        );
        logged.clone().and_then(|said| said.request_id)
    };
    assert_eq!(last_logged("r1", 1).as_deref(), Some("r1"));
    assert_eq!(last_logged("r2", 1).as_deref(), Some("r1"));
    assert_eq!(last_logged("r3", 2).as_deref(), Some("r3"));
}
