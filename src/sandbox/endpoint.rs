//! The calls that there are: what the ESB calls them, and which came when.
//!
//! Knows nothing of their bodies or of what they do.

use crate::cmdb::wire::Route;

/// The calls that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Create one association.
    Create,
    /// Create up to 200.
    CreateMany,
    /// Look up by a Mongo condition.
    Find,
    /// Ask for model associations.
    Models,
    /// Delete one association.
    Delete,
    /// Delete up to 500.
    DeleteMany,
    /// List by rules, page by page.
    Search,
    /// Count by rules.
    Count,
    /// Ask for a model's attributes.
    Attributes,
    /// Ask for a model's unique rules.
    Uniques,
    /// Ask for instances of a model by rules.
    SearchObjectInstances,
    /// Ask for them by Mongo's operators.
    SearchInst,
    /// Ask for hosts by rules.
    ListHosts,
    /// Ask for businesses.
    SearchBusiness,
    /// Ask for the audit log's records by rules.
    AuditList,
    /// Ask for them by their ids.
    AuditRecords,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Create,
        Self::CreateMany,
        Self::Find,
        Self::Models,
        Self::Delete,
        Self::DeleteMany,
        Self::Search,
        Self::Count,
        Self::Attributes,
        Self::Uniques,
        Self::SearchObjectInstances,
        Self::SearchInst,
        Self::ListHosts,
        Self::SearchBusiness,
        Self::AuditList,
        Self::AuditRecords,
    ];

    /// The ESB's name for it; empty where it has none.
    pub const fn component(self) -> &'static str {
        match self {
            Self::Create => "add_instance_association",
            Self::CreateMany => "batch_create_instance_association",
            Self::Find => "find_instance_association",
            Self::Models => "find_object_association",
            Self::Delete => "delete_instance_association",
            Self::DeleteMany => "delete_related_inst_asso",
            Self::Search => "search_instance_associations",
            Self::Count => "count_instance_associations",
            Self::Attributes => "search_object_attribute",
            Self::Uniques => "",
            Self::SearchObjectInstances => "search_object_instances",
            Self::SearchInst => "search_inst",
            Self::ListHosts => "list_hosts_without_biz",
            Self::SearchBusiness => "search_business",
            Self::AuditList => "list_operation_audit",
            Self::AuditRecords => "find_audit_by_id",
        }
    }

    /// Whether it came with 3.9 or 3.10.
    pub(super) const fn is_new(self) -> bool {
        matches!(
            self,
            Self::CreateMany
                | Self::DeleteMany
                | Self::Search
                | Self::Count
                | Self::SearchObjectInstances
                | Self::AuditList
                | Self::AuditRecords
        )
    }

    /// Whether an old ESB sends it to a path that 3.9 dropped, or 3.10 changed.
    pub(super) const fn has_moved(self) -> bool {
        matches!(self, Self::Delete | Self::SearchInst | Self::Attributes)
    }

    /// Where bkassoc's own request arrives.
    pub(super) const fn of(route: Route) -> Self {
        match route {
            Route::Create => Self::Create,
            Route::CreateMany => Self::CreateMany,
            Route::Find => Self::Find,
            Route::Models => Self::Models,
            Route::Delete => Self::Delete,
            Route::DeleteMany => Self::DeleteMany,
            Route::Attributes => Self::Attributes,
            Route::SearchObjectInstances => Self::SearchObjectInstances,
            Route::SearchInst => Self::SearchInst,
            Route::ListHosts => Self::ListHosts,
            Route::SearchBusiness => Self::SearchBusiness,
            Route::List => Self::Search,
            Route::AuditList => Self::AuditList,
            Route::AuditRecords => Self::AuditRecords,
        }
    }
}
