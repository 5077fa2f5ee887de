//! Tags and their values.

use std::collections::BTreeSet;

use serde::Serialize;

use super::values::Empty;

/// `tempopb.SearchTagsV2Response`.
#[derive(Serialize)]
pub(crate) struct TagsResponse {
    scopes: Vec<TagScope>,
    metrics: Empty,
}

#[derive(Serialize)]
pub(crate) struct TagScope {
    pub(crate) name: &'static str,
    pub(crate) tags: Vec<String>,
}

impl TagsResponse {
    pub(crate) fn new(scopes: Vec<TagScope>) -> TagsResponse {
        TagsResponse {
            scopes,
            metrics: Empty {},
        }
    }
}

/// `tempopb.SearchTagValuesV2Response`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagValuesResponse {
    tag_values: Vec<TagValue>,
    metrics: Empty,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct TagValue {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) value: String,
}

impl TagValuesResponse {
    pub(crate) fn new(tag_values: Vec<TagValue>) -> TagValuesResponse {
        TagValuesResponse {
            tag_values,
            metrics: Empty {},
        }
    }
}

/// `tempopb.SearchTagsResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagsV1Response {
    pub(crate) tag_names: BTreeSet<String>,
}

/// `tempopb.SearchTagValuesResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagValuesV1Response {
    pub(crate) tag_values: BTreeSet<String>,
}
