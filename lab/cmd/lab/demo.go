package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/demo"
)

func demoCommand() *cobra.Command {
	var keep bool
	var documents int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a complete migration: baseline, rounds, freeze, cutover, and the proof that no write was lost",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := lab.Root()
			if err != nil {
				return err
			}
			return demo.Run(cmd.Context(), demo.Options{
				Dir: filepath.Join(root, ".lab", "demo"), Out: cmd.OutOrStdout(), Documents: documents, Keep: keep,
			})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything up at the end, with the Temporal UI, until Ctrl-C")
	cmd.Flags().IntVar(&documents, "documents", 50_000, "documents in the index catalog")
	return cmd
}
