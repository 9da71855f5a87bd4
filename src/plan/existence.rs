//! Which instances exist.

use crate::association::InstId;
use crate::cmdb::Cmdb;
use crate::engine::asker::Asker;
use crate::exit::Halt;
use std::sync::Arc;
#[expect(dead_code, reason = "nothing is asked yet")]
pub(crate) struct Existence<'a, C> {
    asker: &'a Asker<'a, C>,
}
impl<'a, C: Cmdb> Existence<'a, C> {
    pub(crate) fn new(asker: &'a Asker<'a, C>) -> Self {
        Self { asker }
    }
    #[expect(clippy::unused_async, reason = "nothing is asked yet")]
    pub(crate) async fn missing(
        &mut self,
        _m: &Arc<str>,
        _ids: &[InstId],
    ) -> Result<Vec<InstId>, Halt> {
        Ok(vec![])
    }
}
