package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/serviceful/serviceful/operator/internal/graph"
	"github.com/serviceful/serviceful/operator/internal/local/datadir"
	"github.com/serviceful/serviceful/operator/internal/manifest"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func graphCommand() *cobra.Command {
	var folders []string
	var format, data string
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Show who emits what to whom",
		Long: `graph reads the Functions of a folder and prints how they are wired: which calls
and events reach which function, what it emits, and the services it leans on.
Dashed edges are asynchronous. Where two functions claim one route it is the older's:
the data folder, if there is one, knows which that is.`,
		Example: `  serviceful graph                      # Mermaid, for Markdown
  serviceful graph -o dot | dot -Tsvg   # Graphviz`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, []graph.Edge) error{"mermaid": graph.Mermaid, "dot": graph.DOT}[format]
			if !ok {
				return fmt.Errorf("--output %q is neither mermaid nor dot", format)
			}
			if err := checkFolders(folders); err != nil {
				return err
			}
			manifests, err := readManifests(cmd.ErrOrStderr(), folders)
			if err != nil {
				return err
			}
			if len(manifests) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+noFunctions(folders))
			}
			all := make([]names.Function, len(manifests))
			for i, m := range manifests {
				all[i] = m.Name()
			}
			ages, err := datadir.ReadAges(data, all, time.Now())
			if err != nil {
				return err
			}
			snapshot := wiring.Compile(aged(manifests, ages), laptopHosts)
			for _, p := range snapshot.Problems {
				fmt.Fprintln(cmd.ErrOrStderr(), where(manifests, p.Function, p.Field)+p.Field+": warning: "+p.String())
			}
			return write(cmd.OutOrStdout(), graph.Edges(snapshot))
		},
	}
	cmd.Flags().StringArrayVarP(&folders, "filename", "f", []string{"functions"}, "folder of manifests; may be given several times")
	cmd.Flags().StringVar(&data, "data", defaultData, "data folder of serviceful dev")
	cmd.Flags().StringVarP(&format, "output", "o", "mermaid", "mermaid or dot")
	return cmd
}

// readManifests reads every Function of the folders. What is wrong with them is
// printed. The validator is not kept: it is quickly made, and a third of an idle
// program's heap.
func readManifests(w io.Writer, folders []string) ([]*manifest.Manifest, error) {
	validator, err := manifest.NewValidator()
	if err != nil {
		return nil, err
	}
	manifests, problems := validator.Load(folders...)
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	if len(problems) > 0 {
		return nil, errReported
	}
	return manifests, nil
}
