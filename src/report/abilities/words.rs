//! What a person reads of a server's abilities.
//!
//! Owns all its words, each a whole text with places in braces, in English and in Chinese.

use std::borrow::Cow;

use super::State;
use crate::cmdb::verdict::Availability;
use crate::cmdb::wire::{Route, SharedBy};
use crate::engine::abilities::{Ability, Limit};
use crate::engine::probes::NotMade;
use crate::target::Entrance;

/// A text in both languages: English, Chinese.
pub(super) type Both = (&'static str, &'static str);

/// What it is.
pub(super) const fn named(ability: Ability) -> Both {
    match ability {
        Ability::Models => ("model associations", "查询模型关联"),
        Ability::Create => ("create one", "创建单条"),
        Ability::Batch => ("create many in one call", "批量创建"),
        Ability::Find => ("look up", "查询关联"),
        Ability::List => ("list page by page", "分页列出关联"),
        Ability::Instances => ("find instances by name", "按名称查实例"),
        Ability::Hosts => ("find hosts by name", "按名称查主机"),
        Ability::Properties => ("tell properties' names", "查询模型字段"),
        Ability::DeleteMany => ("delete many in one call", "批量删除"),
        Ability::Delete => ("delete one", "删除单条"),
    }
}

/// Whether it can.
pub(super) const fn answer(state: State, entrance: Entrance) -> Both {
    use Availability::{Absent, Forbidden, NotGranted, There, Unserved};
    match (state, entrance) {
        (State::Is(There), _) => ("yes", "支持"),
        (State::Is(Forbidden), _) => {
            ("yes, but not for this user: {said}", "支持，但当前用户无权限：{said}")
        }
        (State::Is(Absent), Entrance::Esb) => (
            "no: the ESB has no component {name} ({code})",
            "不支持：ESB 没有组件 {name}（{code}）",
        ),
        (State::Is(Absent), Entrance::Gateway) => (
            "no: the gateway has no resource {name} ({code})",
            "不支持：网关没有资源 {name}（{code}）",
        ),
        (State::Is(Absent | Unserved), Entrance::Native) => {
            ("no: this CMDB has no {call} ({code})", "不支持：该 CMDB 没有 {call}（{code}）")
        }
        (State::Is(Unserved), Entrance::Esb) => (
            "no: the ESB sends {name} to a path that this CMDB does not have ({code})",
            "不支持：ESB 组件 {name} 指向的路径在该 CMDB 上不存在（{code}）",
        ),
        (State::Is(Unserved), Entrance::Gateway) => (
            "no: the CMDB behind the gateway has no {call} ({code})",
            "不支持：网关后面的 CMDB 没有 {call}（{code}）",
        ),
        (State::Is(NotGranted), _) => (
            "no: the app {app} may not call {name} ({code})",
            "不支持：应用 {app} 无权调用 {name}（{code}）",
        ),
        (State::NotKnown, _) => ("not known: {said}", "无法判断：{said}"),
        (State::NotMade(NotMade::Unsafe), _) => (
            "not tried: the server does not say that the probe's association is none of its own",
            "未测试：无法确认探测用的关联不是服务端已有的",
        ),
        (State::NotMade(NotMade::Silence), _) => {
            ("not tried: the calls before it got no answer", "未测试：之前的请求没有应答")
        }
        (State::NotMade(NotMade::Needless), _) => {
            ("not tried: the call for many deletes one, too", "未测试：批量删除的接口也能删单条")
        }
    }
}

/// What is not done, or done in another way, where it can't.
pub(super) const fn without(ability: Ability) -> Both {
    match ability {
        Ability::Models => (
            "each model association has to be given with --model NAME=SOURCE_MODEL,TARGET_MODEL,MAPPING",
            "每个模型关联都要用 --model 名称=源模型,目标模型,源-目标约束 指定",
        ),
        Ability::Create => (
            "no row can be created by itself, so that import, apply, sync and rerun don't work",
            "无法逐行创建关联，import、apply、sync、rerun 都不能用",
        ),
        Ability::Batch => (
            "each row is created by a call of its own, with --batch too",
            "即使加 --batch，也只能逐行创建，一行一个请求",
        ),
        Ability::Find => (
            "a row in doubt can't be looked up, so that no import, sync, rerun, undo or verify --live works",
            "结果不明的行无法查询，import、sync、rerun、undo、verify --live 都不能用",
        ),
        Ability::List => (
            "plan and sync list by look-ups of windows of ids, in more calls",
            "plan 和 sync 改为按 ID 区间查询，请求数会更多",
        ),
        Ability::Instances => (
            "names stand for hosts and businesses alone: other sides of a row need an id",
            "只有主机和业务可以用名称，其他实例要填 ID",
        ),
        Ability::Hosts => ("a host needs its id", "主机要填 ID"),
        Ability::Properties => (
            "names may use the properties that every CMDB has, and no property of your own",
            "名称只能用内置字段，不能用自定义字段",
        ),
        Ability::DeleteMany => (
            "undo and rows that delete take a call for each association",
            "undo 和删除行每删一条关联都要单独发一个请求",
        ),
        Ability::Delete => (
            "nothing can be deleted: undo, rows that delete and sync --prune end with exit 8 before \
             anything is sent. Another entrance of the same CMDB may have the call",
            "无法删除任何关联：undo、删除行、sync --prune 会在提交任何变更之前以退出码 8 结束。同一 CMDB 的其他入口可能有这个接口",
        ),
    }
}

/// Which versions of CMDB have a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// All that are known.
    Old,
    /// Newer ones, and this CMDB may be older.
    Young,
    /// Newer ones, and this CMDB is one of them.
    Reached,
}

/// What to ask the administrator for.
pub(super) const fn request(availability: Availability, entrance: Entrance, age: Age) -> Both {
    use Availability::{Absent, Forbidden, NotGranted, There, Unserved};
    match (availability, entrance) {
        (There, _) => ("", ""),
        (Forbidden, _) => (
            "The user {user} may not use {call}. Please grant the permission that this answer is about: \
             {said}",
            "用户 {user} 无权使用 {call}。请授予以下应答所指的权限：{said}",
        ),
        (Absent, Entrance::Esb) if matches!(age, Age::Young) => (
            "The ESB component {name} is not registered ({call}). Please register it, as CMDB's list of \
             components has it (docs/apidoc/cc/cc.yaml of CMDB 3.11 and newer), and let the app {app} call it. \
             It needs CMDB {since} or newer.",
            "ESB 组件 {name} 未注册（{call}）。请按 CMDB 的组件清单（CMDB 3.11 及以上的 docs/apidoc/cc/cc.yaml）注册，并允许应用 {app} 调用。需要 CMDB {since} 及以上。",
        ),
        (Absent, Entrance::Esb) => (
            "The ESB component {name} is not registered ({call}). Please register it, as CMDB's list of \
             components has it (docs/apidoc/cc/cc.yaml of CMDB 3.11 and newer), and let the app {app} call it.",
            "ESB 组件 {name} 未注册（{call}）。请按 CMDB 的组件清单（CMDB 3.11 及以上的 docs/apidoc/cc/cc.yaml）注册，并允许应用 {app} 调用。",
        ),
        (Unserved, Entrance::Esb) if !matches!(age, Age::Young) => (
            "The ESB component {name} ({call}) goes to a path that this CMDB does not have. Please let it go \
             where CMDB's list of components says (docs/apidoc/cc/cc.yaml of CMDB 3.11 and newer).",
            "ESB 组件 {name}（{call}）指向的路径在该 CMDB 上不存在。请按 CMDB 的组件清单（CMDB 3.11 及以上的 docs/apidoc/cc/cc.yaml）改正它的路径。",
        ),
        (NotGranted, Entrance::Esb) => (
            "Please let the app {app} call the ESB component {name} ({call}).",
            "请允许应用 {app} 调用 ESB 组件 {name}（{call}）。",
        ),
        (Absent, Entrance::Gateway) => (
            "The API gateway's resource {name} ({call}) is not there, or not released in this stage. Please add \
             it as in CMDB's definition of its gateway, release it, and grant it to the app {app}.",
            "API 网关没有资源 {name}（{call}），或者当前环境尚未发布。请按 CMDB 的网关定义添加并发布，并授权给应用 {app}。",
        ),
        (NotGranted, Entrance::Gateway) => (
            "Please grant the app {app} the API gateway's resource {name} ({call}).",
            "请为应用 {app} 授权 API 网关资源 {name}（{call}）。",
        ),
        (NotGranted, Entrance::Native) => (
            "The app {app} may not make {call} ({said}), which a CMDB never says itself. Please look at what stands \
             in front of it.",
            "应用 {app} 无权调用 {call}（{said}），而 CMDB 自身不会这样应答。请检查 CMDB 前面的网关或代理。",
        ),
        (Absent | Unserved, _) if matches!(age, Age::Reached) => (
            "There is no {call}, which every CMDB from {since} on has, and other calls show that this one is. \
             Please look at what stands in front of it.",
            "没有 {call}。CMDB {since} 起就有这个接口，而其他请求表明该 CMDB 不低于这个版本。请检查 CMDB 前面的网关或代理。",
        ),
        (Absent | Unserved, _) if matches!(age, Age::Young) => (
            "This CMDB has no {call}. It came with CMDB {since}: please update, where that is wanted.",
            "该 CMDB 没有 {call}，CMDB {since} 起才有：如有需要请升级。",
        ),
        (Absent | Unserved, _) => (
            "There is no {call}, which every CMDB has. Please look at what stands in front of this one.",
            "没有 {call}，而所有版本的 CMDB 都有这个接口。请检查 CMDB 前面的网关或代理。",
        ),
    }
}

/// With which version a call came (docs/cmdb-api.md#entrances-and-paths), if any that bkassoc knows lacks it.
pub(super) const fn since(route: Route, entrance: Entrance) -> Option<&'static str> {
    match (route, entrance) {
        (Route::CreateMany, _) => Some("3.10.2"),
        (Route::List | Route::SearchObjectInstances, _) => Some("3.10.1"),
        (Route::DeleteMany, _) => Some("3.9"),
        // By model and id. An ESB has had it all along.
        (Route::Delete, Entrance::Gateway | Entrance::Native) => Some("3.10"),
        _ => None,
    }
}

/// A range of versions.
pub(super) const fn versions(from: bool, before: bool) -> Both {
    match (from, before) {
        (true, true) => {
            ("{from} or newer, and older than {before}", "{from} 及以上，低于 {before}")
        }
        (true, false) => ("{from} or newer", "{from} 及以上"),
        (false, true) => ("older than {before}", "低于 {before}"),
        (false, false) => ("not told", "未知"),
    }
}

/// A limit, and whose it is.
pub(super) const fn limit(limit: Option<Limit>) -> Both {
    match limit {
        None => ("not told: there may be none", "服务端未告知，可能没有限制"),
        Some(Limit { shared_by: Some(SharedBy::Route), .. }) => (
            "{calls} calls {window}, counted for this app and each resource apart",
            "{window}{calls} 次请求，按应用和资源分别计数",
        ),
        Some(Limit { shared_by: Some(SharedBy::All), .. }) => (
            "{calls} calls {window}, counted for all calls of this stage together",
            "{window}{calls} 次请求，当前环境的所有请求合并计数",
        ),
        Some(Limit { shared_by: None, .. }) => (
            "{calls} calls {window}; which calls are counted together is not told",
            "{window}{calls} 次请求，未告知如何计数",
        ),
    }
}

/// The window of a limit. What is told is the time to its end, so that it may be longer.
pub(super) const fn window(is_told: bool) -> Both {
    if is_told {
        ("in {time} or longer", "每 {time}（或更长时间）")
    } else {
        ("in a time that is not told", "每个周期（长度未告知）")
    }
}

pub(super) const HEADING: Both = ("What this server can do:", "当前服务端支持的功能：");
pub(super) const TO_ASK: Both = ("To ask its administrator for:", "需要向管理员申请：");
pub(super) const WITHOUT: Both = ("Without it: {without}.", "缺少时的影响：{without}。");
pub(super) const PATH: Both = ("path of the calls", "请求路径");
pub(super) const VERSION: Both = ("version of CMDB", "CMDB 版本");
pub(super) const QUOTA: Both = ("limit", "限流配额");
pub(super) const PERMISSION: Both = ("permission to write", "写权限");
pub(super) const NO_PERMISSION_TRIED: Both = (
    "not tried: only a row's own write shows it. Where the first 20 are all refused, a run ends with exit 8",
    "未测试：只有真正写入才知道。前 20 行全部被拒绝时，运行会以退出码 8 结束",
);
pub(super) const MISSING: &str = "this server can't do what an import needs: {what}";
pub(super) const UNTOLD: &str = "what an import needs is not known to be there: {what}; look at what stands between here \
                                 and the CMDB, then check again";

/// A text with its places filled.
pub(super) fn filled(text: &'static str, places: &[(&str, &str)]) -> Cow<'static, str> {
    let Some(at) = text.find('{') else { return text.into() };
    let (mut whole, mut rest) = (text[..at].to_owned(), &text[at..]);
    while let Some(behind) = rest.strip_prefix('{') {
        let (place, after) = behind.split_once('}').unwrap_or((behind, ""));
        let value = places.iter().find(|(name, _)| *name == place).map_or("", |(_, value)| value);
        whole += value;
        let next = after.find('{').unwrap_or(after.len());
        whole += &after[..next];
        rest = &after[next..];
    }
    whole.into()
}
