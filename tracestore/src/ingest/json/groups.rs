//! What spans and log records have in common: they stand in scopes, and these in resources.

use std::{borrow::Cow, marker::PhantomData, sync::Arc};

use serde::de::MapAccess;

use super::{Element, Reader, Record, array, object, skip, text};
use crate::{
    ingest::build::{Builder, ResourceDraft, ScopeDraft, TooLarge},
    span::{Resource, Scope},
};

/// What stands in scopes of resources. Fields have two names, of which the second is that of the `.proto`.
pub(super) trait Signal<'de>: Element<'de, List: Default> {
    const OF_RESOURCES: [&'static str; 2];
    const OF_SCOPES: [&'static str; 2];
    const ITEMS: [&'static str; 2];
    /// Memory for those of a scope, without themselves.
    const BATCH: usize;

    /// Keeps those of a scope.
    fn keep(
        items: Self::List,
        resource: &Arc<Resource<'de>>,
        scope: Scope<'de>,
        builder: &mut Builder<'de>,
    );
}

/// A request to export.
pub(super) struct Request<S>(PhantomData<S>);

impl<S> Default for Request<S> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, S: Signal<'de>> Record<'de> for Request<S> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match S::OF_RESOURCES.contains(&name) {
            true => array::<OfResource<'de, S>, A>(map, &mut (), reader),
            false => skip(map),
        }
    }
}

struct OfResource<'de, S: Signal<'de>> {
    resource: ResourceDraft<'de>,
    schema_url: Cow<'de, str>,
    scopes: Vec<(Scope<'de>, S::List)>,
}

impl<'de, S: Signal<'de>> Default for OfResource<'de, S> {
    fn default() -> Self {
        Self {
            resource: ResourceDraft::default(),
            schema_url: Cow::default(),
            scopes: Vec::new(),
        }
    }
}

impl<'de, S: Signal<'de>> Record<'de> for OfResource<'de, S> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "resource" => {
                self.resource = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            "schemaUrl" | "schema_url" => text(map, &mut self.schema_url, reader),
            name if S::OF_SCOPES.contains(&name) => {
                array::<OfScope<'de, S>, A>(map, &mut self.scopes, reader)
            }
            _ => skip(map),
        }
    }
}

impl<'de, S: Signal<'de>> Element<'de> for OfResource<'de, S> {
    type List = ();

    fn make_room((): &mut (), builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.charge(size_of::<Resource<'_>>())
    }

    fn add_to(self, (): &mut (), reader: &mut Reader<'de>) {
        let resource = ResourceDraft {
            schema_url: self.schema_url,
            ..self.resource
        };
        let resource = resource.build();
        for (scope, items) in self.scopes {
            S::keep(items, &resource, scope, &mut reader.builder);
        }
    }
}

struct OfScope<'de, S: Signal<'de>> {
    scope: ScopeDraft<'de>,
    schema_url: Cow<'de, str>,
    items: S::List,
}

impl<'de, S: Signal<'de>> Default for OfScope<'de, S> {
    fn default() -> Self {
        Self {
            scope: ScopeDraft::default(),
            schema_url: Cow::default(),
            items: S::List::default(),
        }
    }
}

impl<'de, S: Signal<'de>> Record<'de> for OfScope<'de, S> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "scope" => {
                self.scope = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            "schemaUrl" | "schema_url" => text(map, &mut self.schema_url, reader),
            name if S::ITEMS.contains(&name) => array::<S, A>(map, &mut self.items, reader),
            _ => skip(map),
        }
    }
}

impl<'de, S: Signal<'de>> Element<'de> for OfScope<'de, S> {
    type List = Vec<(Scope<'de>, S::List)>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.charge(S::BATCH)?;
        builder.make_room(list, 1)
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        list.push((self.scope.build(self.schema_url), self.items));
    }
}
