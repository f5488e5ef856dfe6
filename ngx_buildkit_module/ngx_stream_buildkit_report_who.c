
/*
 * Who this process is, as others can tell: its start time, the boot of the
 * machine and the namespace in which its pid means something.
 */


#include "ngx_stream_buildkit_module.h"


static ssize_t ngx_stream_buildkit_report_read(const char *path, char *buf,
    size_t size);


void
ngx_stream_buildkit_report_identify(ngx_stream_buildkit_report_t *report)
{
    char                *p;
    char                 buf[1024];
    ssize_t              n;
    ngx_uint_t           i;
    ngx_file_info_t      fi;

    report->pid_ns = (stat("/proc/self/ns/pid", &fi) == 0) ? fi.st_ino : 0;

    n = ngx_stream_buildkit_report_read("/proc/sys/kernel/random/boot_id",
                                        buf, sizeof(buf));

    if (n > 36) {
        ngx_memcpy(report->boot, buf, 36);
    }

    (void) ngx_stream_buildkit_report_read("/proc/self/stat", buf,
                                           sizeof(buf));

    /* field 2 is a name in parentheses, and may hold anything */

    p = strrchr(buf, ')');

    for (i = 3; p && i <= 22; i++) {
        p = strchr(p + 1, ' ');
    }

    report->ticks = p ? strtoull(p, NULL, 10) : 0;
}


static ssize_t
ngx_stream_buildkit_report_read(const char *path, char *buf, size_t size)
{
    ssize_t   n;
    ngx_fd_t  fd;

    n = 0;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd != NGX_INVALID_FILE) {
        n = read(fd, buf, size - 1);
        (void) ngx_close_file(fd);
    }

    if (n < 0) {
        n = 0;
    }

    buf[n] = '\0';

    return n;
}
