// Prints, as JSON, what the conformance suite consists of: its tests with the features each needs, its profiles, and
// the images that its manifests ask for.
package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/consts"
	"sigs.k8s.io/gateway-api/pkg/features"
)

type catalogue struct {
	// Version is the Gateway API bundle that the suite judges.
	Version  string    `json:"version"`
	Tests    []test    `json:"tests"`
	Profiles []profile `json:"profiles"`
	Images   []string  `json:"images"`
}

type test struct {
	Name     string                 `json:"name"`
	Features []features.FeatureName `json:"features"`
}

type profile struct {
	Name     suite.ConformanceProfileName `json:"name"`
	Core     []features.FeatureName       `json:"core"`
	Extended []features.FeatureName       `json:"extended"`
}

func main() {
	if err := print(); err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

func print() error {
	images, err := imagesOf(conformance.Manifests)
	if err != nil {
		return err
	}
	all := catalogue{Version: consts.BundleVersion, Profiles: profiles(), Images: images}
	for _, t := range tests.ConformanceTests {
		all.Tests = append(all.Tests, test{Name: t.ShortName, Features: t.Features})
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// The suite offers its profiles one by one only.
func profiles() []profile {
	var all []profile
	for _, p := range []suite.ConformanceProfile{
		suite.GatewayHTTPConformanceProfile,
		suite.GatewayGRPCConformanceProfile,
		suite.GatewayTLSConformanceProfile,
		suite.GatewayTCPConformanceProfile,
		suite.GatewayUDPConformanceProfile,
		suite.MeshHTTPConformanceProfile,
		suite.MeshGRPCConformanceProfile,
	} {
		all = append(all, profile{p.Name, sets.List(p.CoreFeatures), sets.List(p.ExtendedFeatures)})
	}
	return all
}

var image = regexp.MustCompile(`(?m)^\s*(?:- )?image:\s*"?([^\s"]+)`)

func imagesOf(manifests fs.FS) ([]string, error) {
	names := map[string]struct{}{}
	err := fs.WalkDir(manifests, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".yaml" {
			return err
		}
		text, err := fs.ReadFile(manifests, name)
		for _, found := range image.FindAllSubmatch(text, -1) {
			names[string(found[1])] = struct{}{}
		}
		return err
	})
	return slices.Sorted(maps.Keys(names)), err
}
