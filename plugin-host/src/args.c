/* The arguments of buildkit-plugin-host: see args.h. */

#include <getopt.h>
#include <stdio.h>

#include "args.h"
#include "bk_plugin.h"


static void bk_args_usage(FILE *out);


static const struct option  bk_args_options[] = {
    { "config", required_argument, NULL, 'c' },
    { "test", no_argument, NULL, 't' },
    { "again", no_argument, NULL, 'a' },
    { "list-plugins", no_argument, NULL, 'l' },
    { "version", no_argument, NULL, 'v' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 }
};


int
bk_args(int argc, char **argv, bk_args_t *args)
{
    int  c;

    args->path = "/etc/buildkit-gateway/plugin-host.yaml";

    while ((c = getopt_long(argc, argv, "c:tvh", bk_args_options, NULL))
           != -1)
    {
        switch (c) {

        case 'c':
            args->path = optarg;
            break;

        case 't':
            args->test = 1;
            break;

        case 'a':
            args->again = 1;
            break;

        case 'l':
            args->list = 1;
            break;

        case 'v':
            printf("buildkit-plugin-host %s (plugin interface %u.%u)\n",
                   BK_VERSION, BK_ABI_MAJOR, BK_ABI_MINOR);
            return 0;

        case 'h':
            bk_args_usage(stdout);
            return 0;

        default:
            bk_args_usage(stderr);
            return 2;
        }
    }

    if (optind != argc) {
        fprintf(stderr, "buildkit-plugin-host: \"%s\" is not understood\n",
                argv[optind]);
        bk_args_usage(stderr);
        return 2;
    }

    return -1;
}


static void
bk_args_usage(FILE *out)
{
    fputs("Usage: buildkit-plugin-host [-c FILE] [-t | --again]\n"
          "       buildkit-plugin-host --list-plugins | --version | --help\n"
          "\n"
          "  -c, --config FILE  configuration (default: "
          "/etc/buildkit-gateway/plugin-host.yaml)\n"
          "  -t, --test         check the configuration, exit 0 or 1\n"
          "      --again        begin anew when a plugin ends this, and do "
          "not exit\n"
          "      --list-plugins each plugin with its options\n"
          "      --version      version, and that of the plugin interface\n"
          "\n"
          "Runs in the foreground.  SIGTERM stops without touching builds; "
          "SIGHUP reads\naccess rules and log level again; SIGUSR1 opens the "
          "log and the audit log again.\n",
          out);
}
