//! Requests and answers of the API: bodies, both key sets, code numbers.
//!
//! Owns what the bytes mean. Knows nothing of how they travel or what an answer means for a row.
//! `docs/cmdb-api.md` describes the API; `tests/wire/` has answers of real servers.

mod answer;
mod audit;
pub mod code;
mod instances;
mod lenient;
mod lists;
mod request;

pub use answer::{Answer, BatchAnswer, Envelope, Found, ModelError, RateHint, Reply, SharedBy};
pub use audit::{AuditList, AuditRecord};
pub use instances::{
    AnyOf, Attribute, Attributes, InstanceCall, Instances, InstancesAnswer, Page, PropertyValue,
};
pub use lists::{Entry, IdWindow, List, Part};
pub use request::{Body, Find, Pattern, Request, RequestId, Route};
