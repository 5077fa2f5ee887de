//! What there is to ask for: Tempo's tags and their values.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use traceql::{Field, FieldExpression, Intrinsic};

use super::{
    Api, Refusal,
    json::{
        TagScope, TagValue, TagValuesResponse, TagValuesV1Response, TagsResponse, TagsV1Response,
    },
};
use crate::{
    compile::{self, narrow},
    query::{Filter, Patience, Place},
    span::{Double, Value},
    store::Store,
};

/// Values that are listed at most.
const MAX_VALUES: usize = 1000;

/// `GET /api/v2/search/tags`, of one `scope` or of all.
pub(super) async fn tags(
    State(api): State<Api>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let wanted = parameters.into_iter().find(|(name, _)| name == "scope");
    let wanted = wanted.map(|(_, scope)| scope);
    let wanted = wanted.filter(|scope| !scope.is_empty() && scope != "none");
    let names = SCOPES.map(|(name, _)| name);
    if let Some(scope) = &wanted
        && scope != "intrinsic"
        && !names.contains(&scope.as_str())
    {
        return Err(Refusal::bad_request(format!("invalid scope: {scope:?}")));
    }
    let is_wanted = move |scope: &str| wanted.as_deref().is_none_or(|wanted| wanted == scope);
    api.answer(move |store, _| {
        let tags = store.tags();
        let mut scopes = Vec::new();
        for (name, place) in SCOPES {
            let of_place = tags.iter().filter(|tag| tag.place == place);
            let tags: Vec<String> = of_place.map(|tag| tag.name.to_string()).collect();
            if is_wanted(name) && !tags.is_empty() {
                scopes.push(TagScope { name, tags });
            }
        }
        if is_wanted("intrinsic") {
            let tags = Intrinsic::ALL.map(|intrinsic| intrinsic.as_str().to_owned());
            scopes.push(TagScope {
                name: "intrinsic",
                tags: tags.to_vec(),
            });
        }
        Ok(Json(TagsResponse::new(scopes)).into_response())
    })
    .await
}

const SCOPES: [(&str, Place); 5] = [
    ("resource", Place::Resource),
    ("span", Place::Span),
    ("event", Place::Event),
    ("link", Place::Link),
    ("instrumentation", Place::Scope),
];

/// `GET /api/v2/search/tag/{tag}/values`: of all spans, or of those that `q` finds. A query that is
/// not complete, as while it is typed, is ignored.
pub(super) async fn values(
    State(api): State<Api>,
    Path(path): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let listed = Listed::parse(&path, &parameters)?;
    api.answer(move |store, patience| {
        let found = listed.values(store, patience)?;
        Ok(Json(TagValuesResponse::new(found)).into_response())
    })
    .await
}

/// `GET /api/search/tags`: the names of all attributes, wherever they are.
pub(super) async fn tags_v1(State(api): State<Api>) -> Result<Response, Refusal> {
    api.answer(move |store, _| {
        let names = store.tags().into_iter().map(|tag| tag.name.into_string());
        let tag_names = names.collect();
        Ok(Json(TagsV1Response { tag_names }).into_response())
    })
    .await
}

/// `GET /api/search/tag/{tag}/values`: an attribute in any scope, and values without their types. What is no tag has none.
pub(super) async fn values_v1(
    State(api): State<Api>,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let listed = Listed::parse(&path, &[]).or_else(|_| Listed::parse(&format!(".{path}"), &[]));
    api.answer(move |store, patience| {
        let found = match listed {
            Ok(listed) => listed.values(store, patience)?,
            Err(_) => Vec::new(),
        };
        let tag_values = found.into_iter().map(|value| value.value).collect();
        Ok(Json(TagValuesV1Response { tag_values }).into_response())
    })
    .await
}

/// Values that are asked for.
struct Listed {
    field: Field,
    filter: Filter,
}

impl Listed {
    /// `path` ends with `/values`.
    fn parse(path: &str, parameters: &[(String, String)]) -> Result<Listed, Refusal> {
        // The name of a tag may have slashes in it.
        let Some(tag) = path.strip_suffix("/values") else {
            return Err(Refusal::bad_request("only /values is here"));
        };
        let query = parameters.iter().find(|(name, _)| name == "q");
        let query = query.and_then(|(_, query)| traceql::parse(query).ok());
        Ok(Listed {
            field: parse_tag(tag)?,
            filter: query.map_or(Filter::All, |query| narrow(&query)),
        })
    }

    fn values(&self, store: &Store, patience: &Patience) -> Result<Vec<TagValue>, Refusal> {
        let mut found = Vec::new();
        if let Some(keywords) = keywords(&self.field) {
            found = keywords;
        } else {
            for place in compile::places(&self.field) {
                for value in store.values(&place, &self.filter, MAX_VALUES, patience)? {
                    found.extend(tag_value(&value));
                }
            }
        }
        found.truncate(MAX_VALUES);
        Ok(found)
    }
}

/// A tag is written as in a query, but that quotes may be left out.
fn parse_tag(tag: &str) -> Result<Field, Refusal> {
    let parse = |tag: &str| match traceql::parse(&format!("{{ {tag} != nil }}")) {
        Ok(query) => match query.leading_filter() {
            Some(FieldExpression::Exists(field)) => match &**field {
                FieldExpression::Field(field) => Some(field.clone()),
                _ => None,
            },
            _ => None,
        },
        Err(_) => None,
    };
    let quoted = || {
        let (scope, name) = tag.split_once('.')?;
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        parse(&format!("{scope}.\"{name}\""))
    };
    parse(tag)
        .or_else(quoted)
        .ok_or_else(|| Refusal::bad_request(format!("invalid tag: {tag:?}")))
}

fn keywords(field: &Field) -> Option<Vec<TagValue>> {
    let words: &[&str] = match field {
        Field::Intrinsic(Intrinsic::Status) => &["error", "ok", "unset"],
        Field::Intrinsic(Intrinsic::Kind) => &[
            "client",
            "consumer",
            "internal",
            "producer",
            "server",
            "unspecified",
        ],
        Field::Intrinsic(_) | Field::Attribute(_) => return None,
    };
    let keyword = |word: &&str| TagValue {
        kind: "keyword",
        value: (*word).to_owned(),
    };
    Some(words.iter().map(keyword).collect())
}

/// `None` for what no query can name.
fn tag_value(value: &Value<'_>) -> Option<TagValue> {
    let (kind, value) = match value {
        Value::String(text) => ("string", text.clone().into_owned()),
        Value::Bool(is) => ("bool", is.to_string()),
        Value::Int(number) => ("int", number.to_string()),
        Value::Double(Double(number)) if number.is_finite() => ("float", number.to_string()),
        Value::Empty | Value::Double(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
            return None;
        }
    };
    Some(TagValue { kind, value })
}
