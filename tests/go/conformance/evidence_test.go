package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// How long one look may take. The failed test waits for it, and parallel ones with it.
const patience = 20 * time.Second

// The namespace of gateway-agent. Another implementation's programs are not looked for.
const system = "gateway-agent-system"

// What kubectl is asked, by the file that keeps its answer.
var looks = map[string][]string{
	"gateway.yaml":   {"get", "--all-namespaces", "--output=yaml", gatewayKinds},
	"workloads.yaml": {"get", "--all-namespaces", "--output=yaml", "pods,services,endpointslices"},
	"events.txt":     {"get", "--all-namespaces", "--sort-by=.metadata.creationTimestamp", "events"},
	"agents.yaml":    {"get", "--all-namespaces", "--output=yaml", "gatewaynodes,gatewayconfigs"},
	"agents.log":     logs("agent"),
	"controller.log": logs("controller"),
}

// Kinds in both channels.
var gatewayKinds = strings.Join([]string{
	"gatewayclasses", "gateways", "listenersets", "httproutes", "grpcroutes", "tlsroutes", "tcproutes", "udproutes",
	"referencegrants", "backendtlspolicies",
}, ",")

func logs(component string) []string {
	return []string{
		"logs", "--namespace=" + system, "--selector=app.kubernetes.io/component=" + component, "--all-containers",
		"--prefix", "--timestamps", "--tail=2000",
	}
}

// Writes what is needed to understand a failure to the folder that EVIDENCE names, asking the program that KUBECTL
// names; without them, nothing. What can't be had is said in its file; it never changes a test's result.
func keepEvidence(t *testing.T, test string) {
	folder, wanted := os.LookupEnv("EVIDENCE")
	kubectl, possible := os.LookupEnv("KUBECTL")
	if !wanted || !possible {
		return
	}
	folder = filepath.Join(folder, test)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Logf("no evidence kept: %v", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for file, arguments := range looks {
		answer, err := exec.CommandContext(ctx, kubectl, arguments...).CombinedOutput()
		if err != nil {
			answer = append(answer, "kubectl: "+err.Error()+"\n"...)
		}
		if err := os.WriteFile(filepath.Join(folder, file), answer, 0o644); err != nil {
			t.Logf("%s not kept: %v", file, err)
		}
	}
}
