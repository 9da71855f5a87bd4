use super::*;
use crate::association::{Association, InstId};
use crate::engine::remaining::Goal;
use rand::SeedableRng;
use rand::rngs::StdRng;

const POLICY: Policy = Policy { max_attempts: 2, settle_after: Duration::from_secs(35) };

fn life(mapping: Mapping, remaining: &Remaining, largest_id: i64) -> (CreateTask, Step) {
    let link = NewAssociation {
        association: Association {
            obj_asst_id: "a".into(),
            inst_id: InstId::new(1).unwrap(),
            asst_inst_id: InstId::new(2).unwrap(),
        },
        biz_id: None,
    };
    let model = ModelAssociation {
        obj_asst_id: "a".into(),
        source: "s".into(),
        target: "t".into(),
        mapping,
        guessed: false,
        mainline: false,
    };
    CreateTask::begin(link, Arc::new(model), remaining, largest_id, Instant::now())
}

fn found(id: i64, source: u64, target: u64) -> Found {
    Found { id, bk_obj_asst_id: "a".into(), bk_inst_id: source, bk_asst_inst_id: target }
}

fn settled(step: Step) -> Outcome {
    match step {
        Step::Settle(outcome) => outcome,
        other => panic!("not settled: {other:?}"),
    }
}

fn verdict(life: &mut CreateTask, verdict: Verdict) -> Step {
    let now = Instant::now();
    life.on_verdict(verdict, ServerMessage::default(), now, &mut StdRng::seed_from_u64(1))
}

fn look(life: &mut CreateTask, found: &[Found]) -> Step {
    let now = Instant::now();
    life.on_found(found, now, now, &POLICY, &mut StdRng::seed_from_u64(1))
}

#[tokio::test(start_paused = true)]
async fn absence_of_a_row_in_doubt_is_believed_only_after_settle_after() {
    let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
    let sent = Instant::now();
    assert_eq!(verdict(&mut life, Verdict::InDoubt(Cause::NoAnswer)), Step::LookUp(sent));
    let park = sent + POLICY.settle_after;
    assert_eq!(look(&mut life, &[]), Step::LookUp(park));
    tokio::time::advance(POLICY.settle_after).await;
    assert!(matches!(look(&mut life, &[]), Step::Create(at) if at >= park));
    assert_eq!(life.before_create(&POLICY), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_found_after_doubt_is_recovered_unless_it_is_older() {
    for (id, status) in [(11, Status::Recovered), (10, Status::Existed)] {
        let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 10);
        verdict(&mut life, Verdict::InDoubt(Cause::NoAnswer));
        let outcome = settled(look(&mut life, &[found(id, 1, 2)]));
        assert_eq!((outcome.status, outcome.association_id), (status, Some(id)));
    }
    let (mut life, step) =
        life(Mapping::OneToOne, &Remaining::InDoubt { goal: Goal::Create, id_watermark: 0 }, 99);
    assert!(matches!(step, Step::LookUp(_)));
    assert_eq!(settled(look(&mut life, &[found(5, 1, 2)])).status, Status::Recovered);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_refusal_is_existed_or_a_conflict_as_the_look_up_says() {
    let (mut one, _) = life(Mapping::OneToOne, &Remaining::All(Goal::Create), 0);
    verdict(&mut one, Verdict::LookUp(Taken::Side));
    assert_eq!(one.patterns().count(), 2);
    assert_eq!(settled(look(&mut one, &[found(5, 1, 2)])).status, Status::Existed);
    let (mut one, _) = life(Mapping::OneToMany, &Remaining::All(Goal::Create), 0);
    verdict(&mut one, Verdict::LookUp(Taken::Side));
    assert!(matches!(look(&mut one, &[found(6, 1, 9)]), Step::LookUp(_)), "1:n: another target");
    let outcome = settled(look(&mut one, &[found(6, 9, 2)]));
    assert_eq!(outcome.reason, Some(Reason::MappingConflict));
    assert!(outcome.message.contains("association 6"), "{}", outcome.message);
}

#[tokio::test(start_paused = true)]
async fn reads_that_lag_are_asked_again_and_then_the_create_is_tried_again() {
    let (mut life, _) = life(Mapping::OneToOne, &Remaining::All(Goal::Create), 0);
    verdict(&mut life, Verdict::LookUp(Taken::Side));
    for _ in 1..LOOKS_AT_TAKEN {
        assert!(matches!(look(&mut life, &[]), Step::LookUp(_)));
    }
    assert!(matches!(look(&mut life, &[]), Step::Create(_)));
}

#[tokio::test(start_paused = true)]
async fn spent_attempts_end_as_unknown_only_after_a_last_look() {
    let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
    for _ in 0..POLICY.max_attempts {
        assert_eq!(life.before_create(&POLICY), None);
        verdict(&mut life, Verdict::InDoubt(Cause::NoAnswer));
        tokio::time::advance(POLICY.settle_after).await;
        assert!(matches!(look(&mut life, &[]), Step::Create(_)));
    }
    assert_eq!(life.before_create(&POLICY), Some(Step::LookUpLast));
    life.look_last();
    let outcome = settled(look(&mut life, &[]));
    assert_eq!((outcome.reason, outcome.retryable), (Some(Reason::OutcomeUnknown), true));
    assert_eq!(outcome.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_done_ends_as_unavailable_or_locked() {
    for (cause, reason) in
        [(Cause::NoAnswer, Reason::Unavailable), (Cause::Locked, Reason::LockContention)]
    {
        let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
        verdict(&mut life, Verdict::Again(cause));
        verdict(&mut life, Verdict::Again(cause));
        let outcome = settled(life.before_create(&POLICY).unwrap());
        assert_eq!(outcome.reason, Some(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_and_overloaded_calls_charge_nothing_and_outages_give_back() {
    let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
    for _ in 0..100 {
        verdict(&mut life, Verdict::Again(Cause::Throttled));
    }
    assert_eq!(life.before_create(&POLICY), None);
    verdict(&mut life, Verdict::Again(Cause::NoAnswer));
    verdict(&mut life, Verdict::Again(Cause::NoAnswer));
    assert!(life.before_create(&POLICY).is_some());
    life.give_back(2);
    assert_eq!(life.before_create(&POLICY), None);
}

#[tokio::test(start_paused = true)]
async fn under_a_guessed_rule_an_association_of_the_same_source_need_not_be_in_the_way() {
    let taken = || {
        let (mut life, _) = life(Mapping::OneToOne, &Remaining::All(Goal::Create), 0);
        Arc::make_mut(&mut life.model).guessed = true;
        verdict(&mut life, Verdict::LookUp(Taken::Side));
        life
    };
    let (same_source, same_target) = (found(5, 1, 9), found(6, 8, 2));
    let outcome = settled(look(&mut taken(), &[same_source.clone(), same_target]));
    assert!(outcome.message.starts_with("association 6 is in the way of the mapping rule"));
    // Its own association, which a lagging read does not show at first.
    let mut own = taken();
    assert!(matches!(look(&mut own, std::slice::from_ref(&same_source)), Step::LookUp(_)));
    let outcome = settled(look(&mut own, &[same_source.clone(), found(7, 1, 2)]));
    assert_eq!((outcome.status, outcome.association_id), (Status::Existed, Some(7)));
    let mut real = taken();
    for _ in 1..LOOKS_AT_TAKEN {
        assert!(matches!(look(&mut real, std::slice::from_ref(&same_source)), Step::LookUp(_)));
    }
    let outcome = settled(look(&mut real, &[same_source]));
    assert_eq!(outcome.reason, Some(Reason::MappingConflict));
}

#[tokio::test(start_paused = true)]
async fn a_number_nobody_knows_is_tried_once_more_and_then_rejected() {
    let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
    let policy = Policy { max_attempts: 6, ..POLICY };
    for _ in 0..2 {
        assert_eq!(life.before_create(&policy), None);
        verdict(&mut life, Verdict::InDoubt(Cause::UnknownCode));
        tokio::time::advance(POLICY.settle_after).await;
        look(&mut life, &[]);
    }
    assert_eq!(life.before_create(&policy), Some(Step::LookUpLast));
    life.look_last();
    assert_eq!(settled(look(&mut life, &[])).reason, Some(Reason::Rejected));
}
