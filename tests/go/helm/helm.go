// Package helm names Helm, whose command is built from its module.
package helm

import _ "helm.sh/helm/v3/pkg/chart"
