package main

import (
	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/version"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this command",
		Long: `Prints the version, the commit and the Go toolchain that this command was built
from. Needs no server. The status of a migration names the version of its worker.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json() {
				return a.printJSON(version.Get())
			}
			a.printf("starter %s\n", version.Get())
			return nil
		},
	}
}
