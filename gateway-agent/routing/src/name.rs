//! Names of objects among those of one kind.

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::ObjectName;

pub(crate) fn name_of(object: &ObjectRef) -> ObjectName {
    ObjectName { namespace: object.namespace.clone().unwrap_or_default(), name: object.name.clone() }
}
