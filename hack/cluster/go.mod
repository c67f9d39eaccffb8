module github.com/serviceful/serviceful/hack/cluster

go 1.26.0
