//! A trace that is written down as text.

use traceql::{
    Comparison, Condition, Field, Intrinsic, Items, Parent, Scope, Static, Trace, Value, evaluate,
    parse,
};

/// Spans and what they hold. More than one value of a field is a list, or, of an event's or link's, several.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    pub(crate) names: Vec<String>,
    pub(crate) parents: Vec<Parent>,
    fields: Vec<Field>,
    /// By field, then by span.
    values: Vec<Vec<Vec<Static>>>,
}

impl Forest {
    /// A line for each span: its name, `?` if its parent is missing, and its fields after a colon, separated by commas. A
    /// line that is further right is a child of the one above.
    pub(crate) fn new(text: &str) -> Forest {
        let mut forest = Forest::default();
        let mut path: Vec<(usize, usize)> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let indent = line.len() - line.trim_start().len();
            path.retain(|(above, _)| *above < indent);
            let (name, fields) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
            let parent = match path.last() {
                _ if name.ends_with('?') => Parent::Missing,
                Some((_, parent)) => Parent::Span(*parent),
                None => Parent::None,
            };
            let span = forest.add(name.trim_end_matches('?'), parent);
            path.push((indent, span));
            for field in fields.split(',').filter(|field| !field.trim().is_empty()) {
                let assignment = parse(&format!("{{ {field} }}")).unwrap();
                let condition = assignment.leading_filter().unwrap().condition().condition;
                let Condition::Compare {
                    field,
                    op: Comparison::Equal,
                    literal,
                } = condition
                else {
                    panic!("{field} is no assignment");
                };
                forest.set(span, field.clone(), literal.clone());
            }
        }
        forest
    }

    pub(crate) fn add(&mut self, name: &str, parent: Parent) -> usize {
        self.names.push(name.to_owned());
        self.parents.push(parent);
        self.values
            .iter_mut()
            .for_each(|column| column.push(Vec::new()));
        self.names.len() - 1
    }

    pub(crate) fn set(&mut self, span: usize, field: Field, value: Static) {
        let column = self.fields.iter().position(|found| *found == field);
        let column = column.unwrap_or_else(|| {
            self.fields.push(field);
            self.values.push(vec![Vec::new(); self.names.len()]);
            self.fields.len() - 1
        });
        self.values[column][span].push(value);
    }

    fn find(&self, wanted: impl Fn(&Field) -> bool) -> Option<usize> {
        self.fields.iter().position(wanted)
    }
}

impl Trace for Forest {
    type Column = usize;

    fn len(&self) -> usize {
        self.names.len()
    }

    fn parent(&self, span: usize) -> Parent {
        self.parents[span]
    }

    fn attribute(&self, scope: Scope, name: &str) -> Option<usize> {
        self.find(|field| {
            matches!(field, Field::Attribute(found) if found.scope == Some(scope) && found.name == name)
        })
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Option<usize> {
        self.find(|field| *field == Field::Intrinsic(intrinsic))
    }

    fn value(&self, column: usize, span: usize) -> Option<Value<'_>> {
        let values = &self.values[column][span];
        let is_several = match &self.fields[column] {
            Field::Attribute(attribute) => {
                matches!(attribute.scope, Some(Scope::Event | Scope::Link))
            }
            Field::Intrinsic(intrinsic) => matches!(
                intrinsic,
                Intrinsic::EventName
                    | Intrinsic::EventTimeSinceStart
                    | Intrinsic::LinkTraceId
                    | Intrinsic::LinkSpanId
            ),
        };
        let items = Items::new(values, 0, values.len());
        match &values[..] {
            [] => None,
            [value] => value.as_value(),
            _ if is_several => Some(Value::Several(items)),
            _ => Some(Value::Array(items)),
        }
    }
}

/// The names of each spanset's spans, and its attributes.
pub(crate) fn answer(forest: &Forest, query: &str) -> String {
    let spansets = match evaluate(&parse(query).unwrap(), forest) {
        Ok(spansets) => spansets,
        Err(error) => return error.to_string(),
    };
    let shown = spansets.iter().map(|spanset| {
        let spans = spanset.spans.iter();
        let mut shown: Vec<_> = spans.map(|span| forest.names[*span].clone()).collect();
        let attributes = spanset.attributes.iter();
        shown.extend(attributes.map(|(name, value)| format!("{name}={value}")));
        shown.join(" ")
    });
    shown.collect::<Vec<_>>().join("; ")
}
