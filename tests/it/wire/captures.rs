//! `tests/wire/*.json`: what real servers said, and what each answer was understood to mean. The answer
//! `tests/wire/cmdb-01.json#1.2` is the one whose `capture` is `cmdb 1.2`.

use bkassoc::cmdb::verdict::{
    judge, judge_attributes, judge_batch, judge_delete, judge_delete_many, judge_instances,
    judge_query, judge_question,
};
use bkassoc::cmdb::wire::{Reply, Route};
use serde::Deserialize;

/// One exchange.
#[derive(Clone, Debug, Deserialize)]
pub struct Capture {
    /// Its name, such as `cmdb 1.2`.
    #[serde(rename = "capture")]
    pub id: String,
    pub title: String,
    pub entrance: String,
    /// `create`, `query`, `batch`, `delete`, `deletes`, `instances`, `attributes`, `list`; none where this tool never makes such a call.
    pub call: Option<String>,
    /// What it means, once some call has succeeded.
    pub verdict: Option<String>,
    /// What it means before that, where it is something else.
    pub first: Option<String>,
    pub request: Request,
    pub response: Response,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<String>,
    pub body: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: String,
}

impl Capture {
    /// Every exchange of every file.
    pub fn all() -> Vec<Self> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire");
        let mut captures = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = std::fs::read_to_string(&path).unwrap();
                let some: Vec<Self> = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                captures.extend(some);
            }
        }
        captures
    }

    pub fn name(&self) -> String {
        format!("{}, {}", self.id, self.title)
    }

    /// What was understood.
    pub fn expected(&self, proven: bool) -> Option<&str> {
        let first = self.first.as_deref().filter(|_| !proven);
        first.or(self.verdict.as_deref())
    }

    /// What a reply to this call is judged to mean.
    pub fn judged(&self, reply: &Reply, proven: bool) -> Option<String> {
        Some(match self.call.as_deref()? {
            "create" => format!("{:?}", judge(reply, proven)),
            "query" => format!("{:?}", judge_query(reply, proven)),
            "batch" => format!("{:?}", judge_batch(reply, proven)),
            "delete" => format!("{:?}", judge_delete(reply, proven)),
            "deletes" => format!("{:?}", judge_delete_many(reply, proven)),
            "instances" => format!("{:?}", judge_instances(reply, proven)),
            "list" => format!("{:?}", judge_question(Route::List, reply, proven)),
            "attributes" => format!("{:?}", judge_attributes(reply, proven)),
            other => panic!("{}: no such call: {other}", self.name()),
        })
    }
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}
