// The Gateway API project's conformance suite as one program.
package conformance

import (
	"sync/atomic"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

func TestConformance(t *testing.T) {
	var began atomic.Bool
	for i := range tests.ConformanceTests {
		lookBeforeCleanUp(&tests.ConformanceTests[i], &began)
	}
	// Deferred calls come before the clean-up of what was set up.
	defer func() {
		if t.Failed() && !began.Load() {
			keepEvidence(t, "set-up")
		}
	}()
	conformance.RunConformance(t)
}

// A test deletes its objects when it ends. The suite's own hook comes after that; what is registered here comes first.
func lookBeforeCleanUp(test *suite.ConformanceTest, began *atomic.Bool) {
	run := test.Test
	test.Test = func(t *testing.T, s *suite.ConformanceTestSuite) {
		began.Store(true)
		t.Cleanup(func() {
			if t.Failed() {
				keepEvidence(t, test.ShortName)
			}
		})
		run(t, s)
	}
}
