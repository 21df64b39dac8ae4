module gateway-agent/tests/go/probe

go 1.26.0
