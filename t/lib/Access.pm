package Access;

# A plugin-host of our own beside its plugins and those of t/plugins, with the
# plugin "who" (t/plugins/who.c), which knows whom we say that it knows.

use strict;
use warnings;

use Fcntl qw(:flock);
use File::Copy qw(copy);
use File::Path qw(make_path);
use JSON ();


# host($t, SECTIONS, plugins => YAML, ...): more goes to Test::Buildkit's
sub host {
    my ($t, $sections, %opts) = @_;

    my $plugins = delete $opts{plugins} // "  - {name: who}\n";

    return $t->host(<<"END", program => program($t), %opts);
state: %%DIR%%/state
table: {path: "%%DIR%%/bk.table", allocations: 100, workers: 10, pools: 10}
api: {listen: ["unix:%%DIR%%/run/api.sock", "127.0.0.1:%%PORT:api%%"]}
metrics: {listen: ["127.0.0.1:%%PORT:metrics%%"]}
$sections
plugins:
$plugins
END
}


# program($t, NAMES): with more of t/plugins than that one
sub program {
    my ($t, @more) = @_;

    my $bin = $t->dir . '/bin';
    return "$bin/host" if -e "$bin/host";

    make_path("$bin/plugins", { mode => 0755 });
    copy($t->build . '/buildkit-plugin-host', "$bin/host") or die $!;
    chmod 0755, "$bin/host";
    my @so = map { $t->build . "/t/plugins/$_.so" } 'who', @more;
    # nobody else makes them now
    open my $lock, '>', $t->build . '/.tools.lock' or die "lock: $!";
    flock $lock, LOCK_EX;
    my $r = $t->run({ timeout => 600 }, 'make', '-s', '-C',
        $t->root . '/plugin-host', 'BUILD=' . $t->build, @so);
    die $r->{err} if $r->{rc} != 0;
    for my $file (@so, glob $t->build . '/plugins/*.so') {
        my ($name) = $file =~ m{([^/]+)$};
        copy($file, "$bin/plugins/$name") or die $!;
        chmod 0755, "$bin/plugins/$name";
    }

    return "$bin/host";
}


# token(HOW, USER, {CLAIMS}): for the plugin who
sub token {
    my ($how, $user, $claims) = @_;

    return join '.', 'who', $how, $user // 'ann', $claims
        ? unpack 'H*', JSON->new->canonical->utf8->encode($claims) : ();
}


# as($t, TOKEN, METHOD, PATH [, BODY]): over TCP
sub as {
    my ($t, $token, $method, $path, $body) = @_;

    return $t->http('127.0.0.1:' . $t->port('api'), $method, $path, $body,
        headers => { Authorization => "Bearer $token" });
}

1;
