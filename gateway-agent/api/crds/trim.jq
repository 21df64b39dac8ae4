# Keeps of a CustomResourceDefinition what admission needs: names, scope and the versions' schemas without their prose.
# status is left out: it is a subresource, which a writer of objects can't set.
walk(if type == "object" and (.description | type) == "string" then del(.description) else . end)
| {
    apiVersion,
    kind,
    metadata: { name: .metadata.name, annotations: .metadata.annotations },
    spec: {
      group: .spec.group,
      names: .spec.names,
      scope: .spec.scope,
      versions: [
        .spec.versions[]
        | { name, served, storage, schema: { openAPIV3Schema: (.schema.openAPIV3Schema | del(.properties.status)) } }
      ]
    }
  }
