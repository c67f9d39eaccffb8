module github.com/serviceful/serviceful/hack/cluster/parts/pause

go 1.26.0
