//! What properties a model has: those that every CMDB has (docs/cmdb-api.md#attributes), and those that a
//! models file adds.
//!
//! Owns display names, types and unique rules. Knows nothing of instances or calls.

use serde_json::{Value, json};

use crate::options::Language;

/// A property of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) id: i64,
    pub(super) property: String,
    /// `bk_property_type`
    pub(super) kind: String,
    pub(super) zh: String,
    pub(super) en: String,
    /// Ids and names of an enum's options.
    pub(super) options: Vec<(String, String)>,
    /// Whether it came with the CMDB.
    pub(super) built_in: bool,
}

/// A unique rule: no two instances have the same in all of these properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unique {
    pub(super) id: i64,
    pub(super) properties: Vec<String>,
    pub(super) built_in: bool,
}

/// The models that the calls for instances refuse, since they have calls of their own.
const INNER: &[&str] = &["biz", "set", "module", "host", "process", "plat"];

pub(super) fn is_inner(model: &str) -> bool {
    INNER.contains(&model)
}

/// The property that holds the ids of a model's instances.
pub(super) fn id_field(model: &str) -> &'static str {
    match model {
        "host" => "bk_host_id",
        "biz" => "bk_biz_id",
        "set" => "bk_set_id",
        "module" => "bk_module_id",
        _ => "bk_inst_id",
    }
}

/// Whether a property holds a list of addresses, which is shown as one text.
pub(super) fn is_list(model: &str, property: &str) -> bool {
    model == "host"
        && matches!(
            property,
            "bk_host_innerip" | "bk_host_outerip" | "bk_host_innerip_v6" | "bk_host_outerip_v6"
        )
}

// Id, property and type, then the names: Chinese|English. Of a host the first that the witness has, and
// the address of version 6.
const SWITCH: &str = "\
76 bk_asset_id singlechar 固资编号|asset id
77 bk_inst_name singlechar 名称|middleware
78 bk_sn singlechar SN|SN
79 bk_func singlechar 用途|purpose
80 bk_vendor singlechar 厂商|vendor
81 bk_model singlechar 设备型号|model
83 bk_operator singlechar 维护人|operator
84 bk_os_detail singlechar 操作系统详情|os detail
85 bk_detail longchar 详细描述|detail
86 bk_biz_status enum 运营状态|business status
82 bk_admin_ip singlechar 管理IP|admin ip";
const HOST: &str = "\
28 operator objuser 主要维护人|main operator
29 bk_bak_operator objuser 备份维护人|backup operator
30 bk_asset_id singlechar 固资编号|asset id
31 bk_sn singlechar 设备SN|device sn
32 bk_comment longchar 备注|comment
33 bk_service_term int 质保年限|service term
35 bk_cloud_id foreignkey 云区域|cloud area
37 bk_province_name enum 所在省份|province name
38 bk_isp_name enum 所属运营商|isp name
36 bk_state_name enum 所在国家|state name
26 bk_host_innerip singlechar 内网IP|inner ip
27 bk_host_outerip singlechar 外网IP|outer ip
51 create_time time 录入时间|import data
52 import_from enum 录入方式|import source
125 bk_state list 当前状态|current status
34 bk_sla enum SLA级别|sla level
145 bk_cloud_inst_id singlechar 云主机实例ID|cloud instance ID
146 bk_cloud_host_status enum 云主机状态|cloud host status
147 bk_cloud_vendor enum 云厂商|cloud vendor
149 bk_cpu_architecture enum CPU架构|CPU架构
39 bk_host_name singlechar 主机名称|host name
156 bk_host_innerip_v6 singlechar 内网IPv6|Inner IPv6";
const BUSINESS: &str = "\
1 bk_biz_name singlechar 业务名|business name
2 bk_biz_maintainer objuser 运维人员|maintainer";
const SET: &str = "12 bk_set_name singlechar 集群名|set name";
const MODULE: &str = "20 bk_module_name singlechar 模块名|module name";
const DEVICE: &str = "\
1 bk_asset_id singlechar 固资编号|asset id
2 bk_inst_name singlechar 名称|name";
const OTHER: &str = "1 bk_inst_name singlechar 实例名|instance name";

/// What a model has in every CMDB.
pub(super) fn built_in(model: &str) -> Vec<Attribute> {
    let table = match model {
        "bk_switch" => SWITCH,
        "host" => HOST,
        "biz" => BUSINESS,
        "set" => SET,
        "module" => MODULE,
        "bk_router" | "bk_firewall" | "bk_load_balance" => DEVICE,
        _ => OTHER,
    };
    table.lines().filter_map(Attribute::parse).collect()
}

/// The unique rules that a model has in every CMDB (tests/wire/names-3.json#3.2,
/// tests/wire/names-3.json#3.3).
pub(super) fn built_in_rules(model: &str) -> Vec<Unique> {
    let rules: &[(i64, &[&str], bool)] = match model {
        "host" => &[
            (1, &["bk_cloud_id", "bk_host_innerip"], true),
            (13, &["bk_host_outerip"], false),
            (14, &["bk_cloud_inst_id", "bk_cloud_vendor"], false),
            (18, &["bk_host_innerip_v6", "bk_cloud_id"], true),
        ],
        "bk_switch" | "bk_router" | "bk_firewall" | "bk_load_balance" => {
            &[(10, &["bk_asset_id"], false)]
        }
        "biz" => &[(2, &["bk_biz_name"], true)],
        "set" | "module" => &[],
        _ => &[(1, &["bk_inst_name"], true)],
    };
    let rule = |&(id, properties, built_in): &(i64, &[&str], bool)| {
        let properties = properties.iter().map(|&property| property.to_owned()).collect();
        Unique { id, properties, built_in }
    };
    rules.iter().map(rule).collect()
}

impl Attribute {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let (id, property, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let (zh, en) = words.next()?.split_once('|')?;
        Some(Self {
            id,
            property: property.to_owned(),
            kind: kind.to_owned(),
            zh: zh.to_owned(),
            en: en.to_owned(),
            options: Vec::new(),
            built_in: true,
        })
    }

    /// The value of an instance that was given none: an empty text, or null.
    pub(super) fn unset(&self) -> Value {
        match self.kind.as_str() {
            "singlechar" | "longchar" | "enum" | "objuser" => Value::from(""),
            "foreignkey" => Value::from(0),
            _ => Value::Null,
        }
    }

    /// Whether an instance may have this value.
    pub(super) fn takes(&self, value: &Value) -> bool {
        match self.kind.as_str() {
            "int" | "foreignkey" => value.is_i64(),
            "float" => value.is_number(),
            "bool" => value.is_boolean(),
            "enum" => {
                let one = |id: &str| self.options.iter().any(|(option, _)| option == id);
                value.as_str().is_some_and(|id| self.options.is_empty() || one(id))
            }
            "list" => value.is_string(),
            _ => value.is_string() || value.is_array(),
        }
    }

    /// The attribute as the server shows it.
    pub(super) fn show(&self, model: &str, language: Language) -> Value {
        let options: Vec<_> = (self.options.iter())
            .map(|(id, name)| json!({"id": id, "name": name, "type": "text", "is_default": false}))
            .collect();
        json!({
            "id": self.id,
            "bk_obj_id": model,
            "bk_property_id": self.property,
            "bk_property_name": if language == Language::En { &self.en } else { &self.zh },
            "bk_property_type": self.kind,
            "isonly": false,
            "ispre": self.built_in,
            "option": if self.kind == "enum" { Value::from(options) } else { Value::from("") },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_read() {
        for (model, count) in [("bk_switch", 11), ("host", 22), ("biz", 2), ("anything", 1)] {
            assert_eq!(built_in(model).len(), count, "{model}");
            let rules = built_in_rules(model);
            let known = |property: &String| {
                built_in(model).iter().any(|attribute| attribute.property == *property)
            };
            assert!(rules.iter().flat_map(|rule| &rule.properties).all(known), "{model}");
        }
    }
}
