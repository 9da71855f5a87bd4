//! All businesses: they are listed once and compared here, since older versions take a name for a
//! pattern (docs/cmdb-api.md#businesses).
//!
//! Knows nothing of rows.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::cache::{Meaning, Several};
use super::condition::{Condition, Fit};
use super::properties::Properties;
use super::question::Question;
use super::search::{Landing, MOST_IDS, ask_until_answered};
use crate::association::InstId;
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Envelope, InstanceCall, Instances, Page, Request};
use crate::engine::asker::Asker;
use crate::exit::Halt;

/// More pages are not read.
const MOST_PAGES: usize = 500;
/// The properties that businesses are told apart by, beside their ids.
const NAME: &str = "bk_biz_name";

/// All businesses that the user may see.
#[derive(Debug, Default)]
pub(super) struct Businesses {
    list: Vec<Map<String, Value>>,
    by_name: FxHashMap<String, Vec<usize>>,
}

impl Businesses {
    /// Lists them. The inner error is how the server said no.
    pub(super) async fn list<C: Cmdb>(
        asker: &Asker<'_, C>,
        model: &Arc<str>,
    ) -> Result<Result<Self, Landing>, Halt> {
        let call = InstanceCall::SearchBusiness;
        let mut this = Self::default();
        let mut page = Page { after: None, start: 0, limit: call.page_limit() };
        for _ in 0..MOST_PAGES {
            let request = Request::Instances(Instances {
                call,
                obj_id: Arc::clone(model),
                any_of: None,
                fields: vec![call.id_field().into(), NAME.into()],
                page,
            });
            let answer = ask_until_answered(asker, &request, model, Envelope::instances).await?;
            let info = match answer {
                Ok(answer) => answer.info,
                Err(landing) => return Ok(Err(landing)),
            };
            page.start += info.len() as u64;
            let is_last = info.len() < usize::from(page.limit);
            for business in info {
                this.add(business);
            }
            if is_last {
                return Ok(Ok(this));
            }
        }
        let said = format!("there are more than {} businesses", page.start);
        Ok(Err(Landing::Rejected(said, true)))
    }

    /// The ids of all.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        let id_field = InstanceCall::SearchBusiness.id_field();
        self.list.iter().filter_map(move |business| business.get(id_field)?.as_u64())
    }

    fn add(&mut self, business: Map<String, Value>) {
        if let Some(name) = business.get(NAME).and_then(Value::as_str) {
            self.by_name.entry(name.to_owned()).or_default().push(self.list.len());
        }
        self.list.push(business);
    }

    /// Whether a question is about what was listed.
    pub(super) fn can_tell(question: &Question, properties: &Properties) -> bool {
        let is_listed = |at: usize| {
            let id = &*properties.get(at).id;
            id == NAME || id == InstanceCall::SearchBusiness.id_field()
        };
        question.wanted.iter().all(|(at, _)| is_listed(*at))
    }

    /// Which business is meant.
    pub(super) fn meaning(&self, question: &Question, properties: &Properties) -> Meaning {
        let named = question.wanted.iter().find_map(|(_, condition)| match condition {
            Condition::Text(raw, trimmed) => Some((raw, trimmed)),
            _ => None,
        });
        let places: Vec<usize> = match named {
            None => (0..self.list.len()).collect(),
            Some((raw, trimmed)) => {
                let texts = [Some(raw), trimmed.as_ref()].into_iter().flatten();
                texts.filter_map(|text| self.by_name.get(&**text)).flatten().copied().collect()
            }
        };
        let id_field = InstanceCall::SearchBusiness.id_field();
        let (mut exact, mut trimmed) = (Vec::new(), Vec::new());
        for business in places.into_iter().map(|place| &self.list[place]) {
            let id = business.get(id_field).and_then(Value::as_u64);
            let Some(id) = id.and_then(|id| InstId::new(id).ok()) else { continue };
            match question.fit(properties, business) {
                Some(Fit::Exact) => exact.push(id),
                Some(Fit::Trimmed) => trimmed.push(id),
                None => {}
            }
        }
        let mut found = if exact.is_empty() { trimmed } else { exact };
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [] => Meaning::None,
            [id] => Meaning::One(id),
            _ => {
                let count = found.len();
                found.truncate(MOST_IDS);
                Meaning::Several(Box::new(Several { first: found, count, at_least: false }))
            }
        }
    }
}
