use super::create::LOOKS_AT_TAKEN;
use super::delete::LOOKS;
use super::*;
use crate::association::{Association, InstId, Mapping};
use crate::engine::remaining::Goal;
use rand::SeedableRng;
use rand::rngs::StdRng;

const POLICY: Policy = Policy { max_attempts: 2, settle_after: Duration::from_secs(35) };

fn life(mapping: Mapping, remaining: &Remaining, largest_id: i64) -> (Task, Next) {
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
    Task::begin(link, Arc::new(model), remaining, largest_id, Instant::now()).unwrap()
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

fn verdict(life: &mut Task, verdict: Verdict) -> Step {
    let now = Instant::now();
    life.on_verdict(verdict, ServerMessage::default(), now, &mut StdRng::seed_from_u64(1))
}

fn look(life: &mut Task, found: &[Found]) -> Step {
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
    assert!(matches!(look(&mut life, &[]), Step::Write(at) if at >= park));
    assert_eq!(life.before_write(&POLICY, Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_found_after_doubt_is_recovered_unless_it_is_older() {
    for (id, status) in [(11, Status::Recovered), (10, Status::Existed)] {
        let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 10);
        verdict(&mut life, Verdict::InDoubt(Cause::NoAnswer));
        let outcome = settled(look(&mut life, &[found(id, 1, 2)]));
        assert_eq!((outcome.status, outcome.association_id), (status, Some(id)));
    }
    let (mut life, next) = life(
        Mapping::OneToOne,
        &Remaining::InDoubt {
            goal: Goal::Create,
            id_watermark: 0,
            since: None,
            deleting: Vec::new(),
        },
        99,
    );
    assert_eq!(next, Next::LookUp);
    // An earlier process may have sent it in a batch: it is looked for through both models.
    assert!(matches!(look(&mut life, &[found(5, 1, 2)]), Step::LookUp(_)));
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
    assert!(matches!(look(&mut life, &[]), Step::Write(_)));
}

#[tokio::test(start_paused = true)]
async fn spent_attempts_end_as_unknown_only_after_a_last_look() {
    let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
    for _ in 0..POLICY.max_attempts {
        assert_eq!(life.before_write(&POLICY, Instant::now()), None);
        verdict(&mut life, Verdict::InDoubt(Cause::NoAnswer));
        tokio::time::advance(POLICY.settle_after).await;
        assert!(matches!(look(&mut life, &[]), Step::Write(_)));
    }
    assert_eq!(life.before_write(&POLICY, Instant::now()), Some(Step::LookUpLast));
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
        if cause == Cause::Locked {
            assert_eq!(life.before_write(&POLICY, Instant::now()), None, "a lock lives a minute");
            tokio::time::advance(Duration::from_secs(80)).await;
            verdict(&mut life, Verdict::Again(cause));
        }
        verdict(&mut life, Verdict::Again(cause));
        let outcome = settled(life.before_write(&POLICY, Instant::now()).unwrap());
        assert_eq!(outcome.reason, Some(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_and_overloaded_calls_charge_nothing_and_outages_give_back() {
    let (mut life, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 0);
    for _ in 0..100 {
        verdict(&mut life, Verdict::Again(Cause::Throttled));
    }
    assert_eq!(life.before_write(&POLICY, Instant::now()), None);
    verdict(&mut life, Verdict::Again(Cause::NoAnswer));
    verdict(&mut life, Verdict::Again(Cause::NoAnswer));
    assert!(life.before_write(&POLICY, Instant::now()).is_some());
    life.give_back(2);
    assert_eq!(life.before_write(&POLICY, Instant::now()), None);
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
        assert_eq!(life.before_write(&policy, Instant::now()), None);
        verdict(&mut life, Verdict::InDoubt(Cause::UnknownCode));
        tokio::time::advance(POLICY.settle_after).await;
        look(&mut life, &[]);
    }
    assert_eq!(life.before_write(&policy, Instant::now()), Some(Step::LookUpLast));
    life.look_last();
    assert_eq!(settled(look(&mut life, &[])).reason, Some(Reason::Rejected));
}

fn removal(sent: bool) -> Task {
    let goal = Goal::Undo { id: 7 };
    let remaining = if sent {
        Remaining::InDoubt { goal, id_watermark: 0, since: None, deleting: vec![7] }
    } else {
        Remaining::All(goal)
    };
    life(Mapping::ManyToMany, &remaining, 0).0
}

fn deleted(step: Step) -> (Status, Option<Reason>) {
    let outcome = settled(step);
    (outcome.status, outcome.reason)
}

#[tokio::test(start_paused = true)]
async fn deleted_means_seen_deleted_and_gone() {
    let mut one = removal(false);
    assert!(matches!(look(&mut one, &[found(7, 1, 2)]), Step::Write(_)));
    assert_eq!(one.before_write(&POLICY, Instant::now()), None);
    assert!(matches!(verdict(&mut one, Verdict::Accepted), Step::LookUp(_)));
    assert_eq!(deleted(look(&mut one, &[])), (Status::Deleted, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_the_same_is_left_alone() {
    let mut one = removal(false);
    for _ in 1..LOOKS {
        assert!(matches!(look(&mut one, &[]), Step::LookUp(_)));
    }
    assert_eq!(deleted(look(&mut one, &[])), (Status::Failed, Some(Reason::NotFound)));
    for other in [found(9, 1, 2), found(7, 3, 4)] {
        let outcome = deleted(look(&mut removal(false), &[other]));
        assert_eq!(outcome, (Status::Failed, Some(Reason::NotTheSame)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_deleted_nothing_is_no_success() {
    let mut one = removal(false);
    let here = [found(7, 1, 2)];
    look(&mut one, &here);
    for _ in 0..POLICY.max_attempts {
        assert_eq!(one.before_write(&POLICY, Instant::now()), None);
        verdict(&mut one, Verdict::Accepted);
        for _ in 1..LOOKS {
            assert!(matches!(look(&mut one, &here), Step::LookUp(_)));
        }
        assert!(matches!(look(&mut one, &here), Step::Write(_)));
    }
    assert_eq!(one.before_write(&POLICY, Instant::now()), Some(Step::LookUpLast));
    one.look_last();
    for _ in 1..LOOKS {
        look(&mut one, &here);
    }
    assert_eq!(deleted(look(&mut one, &here)), (Status::Failed, Some(Reason::OutcomeUnknown)));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_saw_and_is_gone_for_good_is_deleted() {
    for left in [&[][..], &[found(9, 1, 2)]] {
        let mut removal = removal(true);
        for _ in 1..LOOKS {
            assert!(matches!(look(&mut removal, left), Step::LookUp(_)), "a read may lag");
        }
        assert_eq!(deleted(look(&mut removal, left)), (Status::Deleted, None));
    }
    let never_ours = deleted(look(&mut removal(true), &[found(7, 3, 4)]));
    assert_eq!(never_ours, (Status::Failed, Some(Reason::NotTheSame)));
}

#[test]
fn a_delete_that_always_overloads_the_server_ends_as_its_own_fault() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut removal = removal(false);
    look(&mut removal, &[found(7, 1, 2)]);
    let mut calls = 0;
    while removal.before_write(&POLICY, Instant::now()).is_none() {
        calls += 1;
        assert!(calls < 20, "it never ends");
        let verdict = Verdict::Again(Cause::Overload);
        removal.on_verdict(verdict, ServerMessage::default(), Instant::now(), &mut rng);
    }
    assert_eq!((calls, removal.charged()), (8, 2));
    let Some(Step::Settle(outcome)) = removal.before_write(&POLICY, Instant::now()) else {
        panic!()
    };
    assert_eq!(outcome.reason, Some(Reason::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn locks_that_never_open_are_told_as_such() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut removal = removal(false);
    for _ in 0..3 {
        let verdict = Verdict::Again(Cause::Locked);
        removal.on_verdict(verdict, ServerMessage::default(), Instant::now(), &mut rng);
        tokio::time::advance(Duration::from_secs(80)).await;
    }
    let Some(Step::Settle(outcome)) = removal.before_write(&POLICY, Instant::now()) else {
        panic!()
    };
    assert_eq!(outcome.reason, Some(Reason::LockContention));
}

/// A row that a lost batch may have left by half, found through its source model.
fn found_through_source() -> Task {
    let (mut task, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 5);
    task.on_batch_lost(ServerMessage::default(), Instant::now());
    assert_eq!(**task.look_up_model(), *"s");
    assert!(matches!(look(&mut task, &[found(9, 1, 2)]), Step::LookUp(_)));
    assert_eq!(**task.look_up_model(), *"t");
    task
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_batch_a_row_is_there_when_it_is_found_through_both_models() {
    let outcome = settled(look(&mut found_through_source(), &[found(9, 1, 2)]));
    assert_eq!((outcome.status, outcome.association_id), (Status::Recovered, Some(9)));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_another_s_batch_at_work_is_not_taken_for_half_a_row() {
    let mut task = found_through_source();
    let believed = Instant::now() + POLICY.settle_after;
    assert_eq!(look(&mut task, &[]), Step::LookUp(believed));
    tokio::time::advance(POLICY.settle_after).await;
    assert_eq!(settled(look(&mut task, &[found(9, 1, 2)])).status, Status::Recovered);
    assert_eq!(task.next_write(), Write::Create);
}

#[tokio::test(start_paused = true)]
async fn half_a_row_is_seen_deleted_seen_gone_and_created_singly() {
    let mut task = found_through_source();
    tokio::time::advance(POLICY.settle_after).await;
    assert!(matches!(look(&mut task, &[]), Step::LookUp(_)));
    assert_eq!((task.next_write(), &**task.look_up_model()), (Write::Delete, "s"));
    assert!(matches!(look(&mut task, &[found(9, 1, 2)]), Step::Write(_)));
    assert!(matches!(verdict(&mut task, Verdict::Accepted), Step::LookUp(_)));
    assert!(matches!(look(&mut task, &[]), Step::Write(_)));
    assert_eq!((task.next_write(), task.may_batch()), (Write::Create, false));
    assert_eq!(settled(verdict(&mut task, Verdict::Created(12))).association_id, Some(12));
}

#[tokio::test(start_paused = true)]
async fn half_a_row_that_can_not_be_deleted_is_told_as_that_and_stops_nothing() {
    let stops = [Stop::Setup, Stop::NoDelete].map(Verdict::Stop);
    for refused in stops.into_iter().chain([Verdict::Failed(Reason::Forbidden)]) {
        let mut task = found_through_source();
        tokio::time::advance(POLICY.settle_after).await;
        look(&mut task, &[]);
        look(&mut task, &[found(9, 1, 2)]);
        let outcome = settled(verdict(&mut task, refused));
        assert_eq!(outcome.reason, Some(Reason::OutcomeUnknown));
        assert!(outcome.message.contains("association 9 by half"), "{}", outcome.message);
    }
}

/// An id that was there before is not ours to delete.
#[tokio::test(start_paused = true)]
async fn an_older_row_is_not_looked_for_through_its_target_model() {
    let (mut task, _) = life(Mapping::ManyToMany, &Remaining::All(Goal::Create), 5);
    task.on_batch_lost(ServerMessage::default(), Instant::now());
    assert_eq!(settled(look(&mut task, &[found(5, 1, 2)])).status, Status::Existed);
}

fn by_triple() -> Task {
    life(Mapping::ManyToMany, &Remaining::All(Goal::Delete { id: None }), 0).0
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_a_good_end_of_a_delete() {
    for id in [None, Some(7)] {
        let (mut task, next) = life(Mapping::ManyToMany, &Remaining::All(Goal::Delete { id }), 0);
        assert_eq!(next, Next::LookUp);
        for _ in 1..LOOKS {
            assert!(matches!(look(&mut task, &[]), Step::LookUp(_)), "a read may lag");
        }
        let outcome = settled(look(&mut task, &[]));
        assert_eq!((outcome.status, outcome.reason), (Status::Absent, None));
        assert_eq!((outcome.association_id, outcome.retryable), (None, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_by_id_leaves_another_association_of_the_same_ends_alone() {
    let goal = Goal::Delete { id: Some(7) };
    for other in [found(9, 1, 2), found(7, 3, 4)] {
        let (mut task, _) = life(Mapping::ManyToMany, &Remaining::All(goal), 0);
        let outcome = deleted(look(&mut task, &[other]));
        assert_eq!(outcome, (Status::Failed, Some(Reason::NotTheSame)));
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_was_there_at_the_first_look_goes_and_nothing_that_came_later() {
    let mut task = by_triple();
    let both = [found(5, 1, 2), found(9, 1, 2)];
    assert!(matches!(
        look(&mut task, &[both[0].clone(), both[1].clone(), found(4, 1, 3)]),
        Step::Write(_)
    ));
    assert_eq!(task.to_delete(), [5, 9]);
    assert_eq!(task.takes_note(), Some(Note::Deletes(vec![5, 9])));
    assert_eq!(task.takes_note(), None, "it is on disk by now");
    task.on_deletes_answered(None, Instant::now());
    // One that a lagging look did not show is older; a younger one is somebody's new one.
    for _ in 1..LOOKS {
        look(&mut task, &[found(6, 1, 2), found(12, 1, 2)]);
    }
    assert!(matches!(look(&mut task, &[found(6, 1, 2), found(12, 1, 2)]), Step::Write(_)));
    assert_eq!(task.to_delete(), [6]);
    assert_eq!(task.takes_note(), Some(Note::Deletes(vec![6])));
    task.on_deletes_answered(None, Instant::now());
    let outcome = settled(look(&mut task, &[found(12, 1, 2)]));
    assert_eq!((outcome.status, outcome.association_id), (Status::Deleted, Some(5)));
    assert!(outcome.message.contains("5, 9, 6"), "{}", outcome.message);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_only_what_was_written_down_is_deleted() {
    let goal = Goal::Delete { id: None };
    let remaining = Remaining::InDoubt { goal, id_watermark: 0, since: None, deleting: vec![5] };
    let later = found(12, 1, 2);
    let (mut gone, _) = life(Mapping::ManyToMany, &remaining, 0);
    for _ in 1..LOOKS {
        look(&mut gone, std::slice::from_ref(&later));
    }
    let outcome = settled(look(&mut gone, std::slice::from_ref(&later)));
    assert_eq!((outcome.status, outcome.association_id), (Status::Deleted, Some(5)));
    let (mut there, _) = life(Mapping::ManyToMany, &remaining, 0);
    for _ in 0..LOOKS {
        look(&mut there, &[found(3, 1, 2), found(5, 1, 2), later.clone()]);
    }
    assert_eq!(there.to_delete(), [5]);
}

#[tokio::test(start_paused = true)]
async fn what_failed_in_company_goes_with_half_of_it_and_then_singly() {
    let mut task = by_triple();
    look(&mut task, &[found(5, 1, 2)]);
    assert_eq!((task.company(), task.failures()), (Some(usize::MAX), 0));
    task.on_deletes_lost(500, ServerMessage::default(), Instant::now());
    assert_eq!((task.company(), task.failures()), (Some(250), 1));
    task.on_deletes_refused(250, Instant::now());
    assert_eq!(task.company(), None);
    assert_eq!(task.charged(), 0, "it need not be the row's doing");
}

#[tokio::test(start_paused = true)]
async fn several_associations_of_a_row_go_one_by_one_where_they_must() {
    let mut task = by_triple();
    look(&mut task, &[found(5, 1, 2), found(9, 1, 2)]);
    assert!(matches!(verdict(&mut task, Verdict::Accepted), Step::Write(_)));
    assert_eq!((task.to_delete(), task.charged()), (&[9][..], 0));
    assert!(matches!(verdict(&mut task, Verdict::Accepted), Step::LookUp(_)));
    assert_eq!(deleted(look(&mut task, &[])), (Status::Deleted, None));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_refused_after_one_that_may_be_executed_yet_is_not_told_as_failed() {
    let mut task = by_triple();
    let here = [found(5, 1, 2)];
    look(&mut task, &here);
    verdict(&mut task, Verdict::InDoubt(Cause::NoAnswer));
    for _ in 0..LOOKS {
        look(&mut task, &here);
    }
    let outcome = settled(verdict(&mut task, Verdict::Failed(Reason::Forbidden)));
    assert_eq!(outcome.reason, Some(Reason::OutcomeUnknown));
    let mut first = by_triple();
    look(&mut first, &here);
    let outcome = settled(verdict(&mut first, Verdict::Failed(Reason::Forbidden)));
    assert_eq!(outcome.reason, Some(Reason::Forbidden));
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_a_minute_ago_is_looked_up_again_before_it_is_deleted() {
    let mut task = by_triple();
    look(&mut task, &[found(5, 1, 2)]);
    assert_eq!(task.before_write(&POLICY, Instant::now()), None);
    tokio::time::advance(Duration::from_secs(61)).await;
    let now = Instant::now();
    assert_eq!(task.before_write(&POLICY, now), Some(Step::LookUp(now)));
    // Nothing was deleted yet: what is there now is what is meant.
    look(&mut task, &[found(9, 1, 2)]);
    assert_eq!(task.to_delete(), [9]);
}

#[tokio::test(start_paused = true)]
async fn what_is_expected_is_looked_up_and_created_only_where_it_is_gone() {
    let (mut there, next) = life(Mapping::ManyToMany, &Remaining::Expected, 99);
    assert_eq!(next, Next::LookUp);
    let outcome = settled(look(&mut there, &[found(150, 1, 2)]));
    assert_eq!((outcome.status, outcome.association_id), (Status::Existed, Some(150)));
    let (mut gone, _) = life(Mapping::ManyToMany, &Remaining::Expected, 99);
    assert!(matches!(look(&mut gone, &[]), Step::Write(_)));
    assert_eq!(gone.takes_note(), Some(Note::Sent));
    assert_eq!(settled(verdict(&mut gone, Verdict::Created(200))).status, Status::Created);
}
