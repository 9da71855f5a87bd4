//! What is known of one model: how its instances are found, its properties and its key; and the words for
//! what became of a cell.
//!
//! Knows nothing of rows or of when is asked.

use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::businesses::Businesses;
use super::cache::{Asked, Cache, Meaning};
use super::condition::Unfit;
use super::properties::{Properties, quoted};
use super::question::{Key, Question, mistake, question};
use super::search::{Pending, Search};
use crate::association::InstId;
use crate::cmdb::wire::Instances;
use crate::input::shown;
use crate::options::Naming;
use crate::target::Entrance;

/// Values asked for in one call. One fewer than a page may have, so that a page with all of them is seen to
/// be the last.
const MOST_VALUES: usize = Instances::MOST_VALUES - 1;

/// How instances of a model are found.
#[derive(Debug)]
pub(super) enum Way {
    /// By the calls for any model.
    Objects,
    /// By the call for hosts.
    Hosts,
    /// They are listed.
    Businesses(Businesses),
    /// Not at all, for this reason.
    Nowhere(String),
}

/// What is known of a model.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) id: Arc<str>,
    pub(super) way: Way,
    pub(super) properties: Rc<Properties>,
    pub(super) key: Key,
    pub(super) cache: Cache,
    /// Cells that wait for company, by the properties that they are asked by.
    pub(super) waiting: FxHashMap<Vec<usize>, (Vec<Pending>, usize)>,
    /// Questions that were refused while none was answered.
    pub(super) refusals: u32,
}

/// Why a cell names no instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Missing,
    Ambiguous,
    Unresolvable,
}

impl Model {
    /// What a cell asks.
    pub(super) fn question(&self, text: &str, naming: &Naming) -> Result<Question, Unfit> {
        let question = question(text, &self.id, &self.properties, &self.key, naming.cloud_id)?;
        match &self.way {
            Way::Businesses(_) if !Businesses::can_tell(&question, &self.properties) => {
                let message = "businesses are found by bk_biz_name or bk_biz_id alone".to_owned();
                Err(Unfit::Unresolvable(message))
            }
            _ => Ok(question),
        }
    }

    /// A cell waits for company. What is enough for a call is given back.
    pub(super) fn wait(&mut self, number: usize, pending: Pending) -> Option<Search> {
        let by = pending.1.asked_by(&self.properties);
        let weight = pending.1.weight();
        let (waiting, sum) = self.waiting.entry(by.clone()).or_default();
        if *sum + weight <= MOST_VALUES {
            *sum += weight;
            waiting.push(pending);
            return None;
        }
        *sum = weight;
        let full = std::mem::replace(waiting, vec![pending]);
        Some(self.search(number, by, full))
    }

    /// All that waits for company goes without.
    pub(super) fn flush(&mut self, number: usize) -> Vec<Search> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.filter(|(_, (pending, _))| !pending.is_empty());
        waiting.map(|(by, (pending, _))| self.search(number, by, pending)).collect()
    }

    fn search(&self, model: usize, by: Vec<usize>, pending: Vec<Pending>) -> Search {
        let properties = Rc::clone(&self.properties);
        Search { model, obj_id: Arc::clone(&self.id), properties, by, pending }
    }

    /// The instance that a cell means, or why it means none, in words. `None` where it is not known yet.
    pub(super) fn tell(
        &self,
        asked: &Asked,
        naming: &Naming,
        entrance: Entrance,
    ) -> Option<Result<InstId, (Fault, String)>> {
        let meaning = asked.meaning.get()?;
        if let Meaning::One(id) = meaning {
            return Some(Ok(*id));
        }
        Some(Err(self.fault(asked, meaning, naming, entrance)))
    }

    fn fault(
        &self,
        asked: &Asked,
        meaning: &Meaning,
        naming: &Naming,
        entrance: Entrance,
    ) -> (Fault, String) {
        let model = quoted(&self.id);
        if let (Way::Nowhere(why), Meaning::NoCall) = (&self.way, meaning) {
            return (Fault::Unresolvable, why.clone());
        }
        let question = match self.question(&asked.text, naming) {
            Ok(question) => question,
            Err(Unfit::Missing(why)) => return (Fault::Missing, why),
            Err(Unfit::Unresolvable(why)) => return (Fault::Unresolvable, why),
        };
        let asked_for = question.shown(&self.properties);
        match meaning {
            Meaning::NoCall => (Fault::Unresolvable, no_call(&model, entrance)),
            Meaning::Refused(said) => {
                let name = shown(&asked.text);
                (
                    Fault::Unresolvable,
                    format!("the server does not say which {model} {name:?} is: {said}"),
                )
            }
            Meaning::Several(several) => {
                let ids: Vec<_> = several.first.iter().map(InstId::to_string).collect();
                let more = if several.count > ids.len() || several.at_least { ", …" } else { "" };
                let count = several.count;
                let at_least = if several.at_least { "at least " } else { "" };
                let help = if question.lacks_cloud(&self.properties) {
                    "say which with @CLOUD or --cloud-id, or put the id"
                } else {
                    "say more (PROPERTY=VALUE,PROPERTY=VALUE), or put the id"
                };
                let ids = ids.join(", ");
                let message =
                    format!("{at_least}{count} {model} have {asked_for}: ids {ids}{more}; {help}");
                (Fault::Ambiguous, message)
            }
            Meaning::None | Meaning::One(_) => {
                let help = mistake(&asked.text, &self.id, &self.properties).unwrap_or_else(|| {
                    "create it, or mend the name (the case of letters counts)".to_owned()
                });
                (Fault::Missing, format!("no {model} has {asked_for}; {help}"))
            }
        }
    }
}

/// Which entrance could tell.
fn no_call(model: &str, entrance: Entrance) -> String {
    let who = match (entrance, model) {
        (Entrance::Esb, "host" | "biz") => {
            "this ESB has no call for that, or not for this app: have list_hosts_without_biz and \
             search_business granted to --app-code"
        }
        (Entrance::Esb, _) => {
            "this ESB has no call for that (hosts and businesses alone can be named): use --entrance \
             gateway or native, or have its administrator set up CMDB's own list of components \
             (cc.yaml of 3.11 or newer)"
        }
        (Entrance::Gateway, _) => {
            "this gateway has no resource for that, or not for this app: apply for \
             search_object_instances and list_hosts_without_app with --app-code, or use --entrance native"
        }
        (Entrance::Native, _) => "this CMDB has no call for that",
    };
    format!("no {model} can be found by name: {who}; or put ids")
}
