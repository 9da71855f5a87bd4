//! Answers of any bytes under any status: never a panic, and nothing is believed to be created
//! unless the answer says so thrice.
#![no_main]

use bkassoc::cmdb::verdict::{
    BatchVerdict, Query, Verdict, judge, judge_attributes, judge_batch, judge_delete,
    judge_instances, judge_query,
};
use bkassoc::cmdb::wire::{Answer, Envelope, Reply};
use bkassoc::target::Entrance;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// What every accessor gives must be what it promises.
fn check_parts(envelope: &Envelope) {
    assert!(envelope.created_id().is_none_or(|id| id > 0));
    let batch = envelope.batch();
    assert_eq!(batch, envelope.batch(), "the same answer read in two ways");
    if let Some(batch) = batch {
        let mut ids: Vec<_> = batch.created.values().collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), batch.created.len(), "an id for two rows");
        assert!(ids.iter().all(|id| **id > 0));
    }
    if let Some(found) = envelope.found() {
        assert!(found.iter().all(|found| found.id > 0), "no id, and found");
    }
    let _ = envelope.models();
    let mut other = envelope.clone();
    other.rewrite_texts(|text| text.to_uppercase());
    assert_eq!((other.code(), other.result), (envelope.code(), envelope.result));
}

/// The data of a success, told by a reader that shares nothing with ours.
fn succeeded(value: &Value) -> Option<&Value> {
    let is_zero = |code: &Value| match code {
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.trim().parse() == Ok(0),
        _ => false,
    };
    let codes = ["code", "bk_error_code"].map(|key| &value[key]);
    let is_number = |code: &&&Value| match code {
        Value::Number(number) => number.is_i64(),
        Value::String(text) => text.trim().parse::<i64>().is_ok(),
        _ => false,
    };
    let mut numbers = codes.iter().filter(is_number).copied().peekable();
    let succeeded =
        value["result"] == Value::Bool(true) && numbers.peek().is_some() && numbers.all(is_zero);
    succeeded.then(|| &value["data"])
}

fuzz_target!(|data: &[u8]| {
    let [high, low, body @ ..] = data else {
        return;
    };
    const STATUSES: [u16; 16] =
        [200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 408, 413, 429, 500, 502, 504];
    let status = match high >> 4 {
        0 => u16::from_be_bytes([*high, *low]),
        common => STATUSES[usize::from(common)],
    };
    let proven = high & 1 == 1;

    let envelope = Envelope::parse(body);
    if let Some(envelope) = &envelope {
        check_parts(envelope);
    }
    let excerpt = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    let excerpt = if envelope.is_some() { String::new() } else { excerpt };
    let request_id = envelope.as_ref().and_then(|envelope| envelope.request_id.clone());
    let reply =
        Reply::Answered(Answer { status, envelope, excerpt, request_id, ..Answer::default() });

    let created = judge(&reply, proven);
    if let Verdict::Stop(stop) = created {
        for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
            assert!(!stop.advice(&reply, entrance).is_empty());
        }
    }
    // It reads strings and numbers that ours steps over.
    let Ok(value) = serde_json::from_slice(body) else {
        return;
    };
    let success = succeeded(&value);
    if let Verdict::Created(id) = created {
        let data = success.expect("created, though the answer says no success");
        assert!(id > 0);
        assert_eq!(data["id"].as_i64(), Some(id));
    }
    if judge_query(&reply, proven) == Query::Answered {
        let data = success.expect("answered, though the answer says no success");
        assert!(data.is_array() || data.is_null());
    }
    if judge_instances(&reply, proven) == Query::Answered {
        let data = success.expect("answered, though the answer says no success");
        assert!(data["info"].is_array() || data["info"].is_null());
    }
    if let Some(envelope) = reply.envelope() {
        let _ = (envelope.audit_ids(), envelope.audit_records());
    }
    if judge_attributes(&reply, proven) == Query::Answered {
        let data = success.expect("answered, though the answer says no success");
        assert!(data.is_array() || data.is_null());
    }
    if judge_batch(&reply, proven) == BatchVerdict::Answered {
        let data = success.expect("answered, though the answer says no success");
        assert!(data.is_object());
    }
    if judge_delete(&reply, proven) == Verdict::Accepted {
        assert!(success.is_some(), "accepted, though the answer says no success");
    }
});
