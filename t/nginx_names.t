# buildkit_names: certificates by name, and a name only narrows what a
# client's own certificate says.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use Test::Buildkit;

my $t = Test::Buildkit->new;
my $dir = $t->dir . '/names';
mkdir $dir or die "$dir: $!";

# of two pools; workers of two architectures, and one that does not say
my @workers = (['demo', 'a', '/amd64'], ['demo', 'b', '/arm64'], ['else', 'c', '']);
my %token = map { $_ => $t->token } qw(a b c queued);
my %cert = map { $_ => $t->client_cert($_, cn => "alloc:$token{$_}") } keys %token;
my $table = $t->table('pool team/demo', 'pool team/else', map {
    my ($pool, $name, $arch) = @$_;
    ("worker team/$pool $name 127.0.0.1:" . $t->worker($name)
        . " $name.workers.buildkit.internal ready$arch",
    "alloc token:$token{$name} team/$pool $name ready 0") } @workers);
$table->cmd("alloc token:$token{queued} team/demo - queued 0");

# what a name has, as plugin-host writes it: returns the file's name
sub pem {
    my ($host, @args) = @_;

    my $base = $t->dir . "/certs/server-$host";
    $t->mkcert('--out', $base, '--ca', $t->pki . '/gateway-ca', '--cn', $host,
        '--eku', 'server', '--san', "DNS:$host", @args);

    return put(join '', map { $t->read($_) } "$base.pem",
        $t->pki . '/gateway-ca.pem', "$base-key.pem");
}

sub put {
    my ($text) = @_;

    my $name = sha256_hex($text) . '.pem';
    $t->write("$dir/$name", $text);
    chmod 0600, "$dir/$name" or die "$name: $!";

    return $name;
}

my $written = 0;
sub names {
    my @lines = map { "$_\n" } sort { ($a =~ /(\S+)/)[0] cmp ($b =~ /(\S+)/)[0] } @_;
    return text('buildkit-names 1 ' . @lines . " buildkit\n" . join '', @lines);
}

# there is no telling one from the other but by what the log says
sub text {
    my ($text) = @_;

    my $before = () = nginx_log() =~ /names in "|has a mistake/g;
    $t->write("$dir/names", $text);
    $t->wait_for(sub { $before < (() = nginx_log() =~ /names in "|has a mistake/g) },
        10, 'nginx to read it') if nginx_log();

    return;
}

my $nginx;
sub nginx_log { $nginx ? $nginx->log : '' }

# whose certificate a client gets that asks for this name
sub subject {
    my ($sni, %opts) = @_;

    my $socket = $t->tls($cert{a}, sni => $sni, %opts) or return "none: $IO::Socket::SSL::SSL_ERROR";
    my $name = $socket->peer_certificate('commonName');
    $socket->close;

    return $name;
}

sub served { ($t->say_hello($cert{$_[0]}, sni => $_[1]) =~ /^worker (\w+)/)[0] // 'none' }

sub told {
    my ($who, $sni, $status) = @_;

    my $got = $t->grpc($cert{$who}, sni => $sni)->{streams}{1};

    return ($got->{grpc_status} // '') eq ($status // 7) ? $got->{message}
        : "status $got->{grpc_status}: $got->{message}";
}

sub held {
    my ($who, $sni) = @_;

    my $h2 = $t->grpc($cert{$who}, sni => $sni, streams => [], keep => 1);
    $h2->open_stream(1);
    $t->wait_for(sub { $h2->_more(0.1); $h2->{settings} }, 10, 'SETTINGS');

    return $h2;
}

my $wait = "buildkit_grace 60s;\nbuildkit_check 20ms;\n";
my $conf = $t->gateway_conf(stream => $wait,
    server => "buildkit_names %%DIR%%/names/;\n");

# --- nobody has said yet which there are

$nginx = $t->nginx($conf =~ s/grace 60s/grace 200ms/r);
is(served('a'), 'a', 'no names: who asks for none is served');
is(subject('build.example.com'), 'gateway', 'the default certificate');
like(told('a', 'build.example.com', 9), qr/^buildkit gateway: gateway is starting: it does not know yet which names there are \(allocation \w+\); try again/,
    'others are told when they have waited');
$nginx->reload($conf);
my $early = held('a', 'build.example.com');

my $first = pem('build.example.com');
my $rsa = pem('rsa.example.com', '--rsa');
my $wild = pem('wild.example.com');
my @lines = ("build.example.com team/demo - $first",
    "amd64.build.example.com team/demo amd64 $first",
    "arm64.build.example.com team/demo arm64 $first",
    "rsa.example.com team/demo - $rsa", "else.example.com team/else - -",
    "amd64.else.example.com team/else amd64 -",
    "*.ci.example.com team/demo - $wild", "own.ci.example.com team/else - $first");
names(@lines);
like($t->read_until($early->{socket}, qr/worker a/, 30), qr/worker a\n/,
    'held until then, and served');
$early->finish;

# --- certificates

is(subject($_->[0]), $_->[1], "certificate: $_->[0]") for
    ['build.example.com', 'build.example.com'],
    ['BUILD.Example.COM', 'build.example.com'],
    ['build.example.com.', 'build.example.com'],
    ['amd64.build.example.com', 'build.example.com'],
    ['any.ci.example.com', 'wild.example.com'],
    ['own.ci.example.com', 'build.example.com'],
    ['two.any.ci.example.com', 'gateway'], ['ci.example.com', 'gateway'],
    ['*.ci.example.com', 'gateway'], ['else.example.com', 'gateway'],
    ['nothing.example.com', 'gateway'], ['127.0.0.1', 'gateway'], ['', 'gateway'];
is(subject('rsa.example.com'), 'rsa.example.com', 'of another kind than the default one');
is(subject('rsa.example.com', ssl => { SSL_version => 'TLSv1_2' }), 'rsa.example.com',
    'also to who can do both kinds (TLS 1.2)');
my $strict = $t->tls($cert{a}, sni => 'build.example.com', ssl => {
    SSL_verifycn_scheme => 'http', SSL_verifycn_name => 'build.example.com' });
ok($strict, 'a client that checks the name') or diag $IO::Socket::SSL::SSL_ERROR;
$strict->close if $strict;

# --- it narrows

is(served($_->[0], $_->[1]), $_->[0], "$_->[0] as '$_->[1]'") for
    ['a', 'build.example.com'], ['b', 'build.example.com'], ['c', 'else.example.com'],
    ['a', 'amd64.build.example.com'], ['b', 'arm64.build.example.com'],
    ['a', 'x.ci.example.com'], ['c', 'own.ci.example.com'], ['a', ''], ['c', ''],
    ['a', '127.0.0.1'], ['b', '::1'], ['c', 'amd64.else.example.com'];

my $id = $t->id($token{a});
my $printed = qr/connect to the address that bkctl allocate printed$/;
like(told('a', 'nothing.example.com'), qr/no pool has the name nothing\.example\.com here \(Ingress of class buildkit\); allocation $id is of pool team\/demo: $printed/,
    'a name that nobody has');
like(told('a', "x\x01y.example"), qr/no pool has the name x y\.example here/, 'a bad one');
like(told('a', 'x' x 255), qr/no pool has the name x{253} here/, 'a long one');
like(told('a', 'else.example.com'), qr/allocation $id is of pool team\/demo, and else\.example\.com is the name of pool team\/else; $printed/,
    'of another pool');
like(told('b', 'amd64.build.example.com'), qr/worker b of allocation \w+ is of architecture arm64, and amd64\.build\.example\.com is for amd64 only; connect to another name of pool team\/demo, or run bkctl allocate with --arch amd64$/,
    'of another architecture');
is($t->worker_object('c')->stats->{accepted}, 4, 'nobody was dialled for that');

# --- another certificate for a name: nobody is cut

my $live = $t->tls($cert{a}, sni => 'build.example.com');
print $live "hello\n";
like($t->read_until($live, qr/hello\n/, 30), qr/worker a/, 'a session');
my $accepted = $t->worker_object('a')->stats->{accepted};
my $second = pem('build.example.com', '--cn', 'second');
names(map { s/\Q$first\E/$second/r } @lines);
unlink "$dir/$first" or die "$first: $!";
like(subject('build.example.com'), qr/second|build/, 'served');
my $new = $t->tls($cert{a}, sni => 'build.example.com');
isnt($new->get_fingerprint, $live->get_fingerprint, 'with the new certificate');
$new->close;
print $live "again\n";
is($t->read_until($live, qr/again\n/, 30), "again\n", 'who was there goes on');

# --- other names: nobody is cut, who is held is looked at again

my $h2 = held('queued', 'build.example.com');
names('build.example.com team/else - -');
ok($h2->wait_stream(1, 30), 'the name has another pool now: told');
like($h2->{streams}{1}{message}, qr/is of pool team\/demo, and build\.example\.com is the name of pool team\/else/,
    'why');
$h2->finish;
print $live "still\n";
is($t->read_until($live, qr/still\n/, 30), "still\n", 'a session goes on');
$live->close;

# --- certificates that are none: the default one, and served

my $key = $t->read($t->dir . '/certs/server-build.example.com-key.pem');
my $pem = $t->read($t->dir . '/certs/server-build.example.com.pem');
my $weak = $t->dir . '/weak';
my $made = $t->run('openssl', qw(req -x509 -newkey rsa:512 -nodes -subj /CN=weak -days 2
    -keyout), "$weak-key.pem", '-out', "$weak.pem");
die $made->{err} if $made->{rc};
my $locked = $t->run('openssl', 'ec', '-aes128', '-passout', 'pass:x', '-in',
    $t->dir . '/certs/server-build.example.com-key.pem')->{out};
my $fifo = sha256_hex('fifo') . '.pem';
$t->run('mkfifo', "$dir/$fifo");
my %bad = (missing => [sha256_hex('no') . '.pem', 'cannot be read'],
    empty => [put(''), 'has no certificate in it'],
    nokey => [put($pem), 'has no key in it'],
    nocert => [put($key), 'has no certificate in it'],
    locked => [put($pem . $locked), 'has no key in it'],
    wrong => [put($pem . $t->read($t->pki . '/gateway-key.pem')), 'has the key of another one'],
    cut => [put(substr($pem, 0, 200) . "\n$key"), 'has no certificate in it'],
    large => [put($pem . $key . '#' x 65536), 'is too large'],
    chain => [put($pem x 12 . $key), 'has too long a chain'],
    weak => [put($t->read("$weak.pem") . $t->read("$weak-key.pem")), 'cannot be used'],
    fifo => [$fifo, 'cannot be read']);
names(map { "$_.example.com team/demo - $bad{$_}[0]" } keys %bad);
for my $name (sort keys %bad) {
    my ($file, $why) = @{$bad{$name}};
    is(join(' ', map { subject("$name.example.com") } 1 .. 2), 'gateway gateway',
        "certificate, $name: the default one");
    is(served('a', "$name.example.com"), 'a', "$name: served");
    like($nginx->log, qr/\[error\].*certificate "\S+$file" of $name\.example\.com $why.*clients get the default one/,
        "$name: in the log");
    is(scalar(() = $nginx->log =~ /certificate "\S+$file"/g), 1, "$name: once");
}

# --- texts with a mistake: the names stay

names('build.example.com team/demo - -');
my $head = "buildkit-names 1 1 buildkit\n";
my $good = 'else.example.com team/demo - -';
my $cert = 'a' x 64 . '.pem';
my @bad = (['empty', '', 0, 'does not begin with'],
    ['another version', "buildkit-names 2 1 buildkit\n$good\n", 0, 'does not begin with'],
    ['first line only half', 'buildkit-names 1 1 build', 1, 'not complete'],
    ['no number', "buildkit-names 1 x buildkit\n", 1, 'number of names'],
    ['too many', "buildkit-names 1 65537 buildkit\n", 1, 'number of names'],
    ['07', "buildkit-names 1 07 buildkit\n", 1, 'number of names'],
    ['no class', "buildkit-names 1 0\n", 1, 'number of names'],
    ['a class in two words', "buildkit-names 1 0 a b\n", 1, 'class'],
    ['a class in capitals', "buildkit-names 1 0 A\n", 1, 'class'],
    ['a line too few', $head, 2, 'fewer lines'],
    ['a half line', "$head$good", 2, 'fewer lines'],
    ['a line too many', "$head$good\nf$good\n", 3, 'more lines'],
    ['an empty line', "$head\n", 2, 'four words'],
    ['two blanks', "${head}else.example.com  team/demo - -\n", 2, 'four words'],
    ['a blank at the end', "$head$good \n", 2, 'four words'],
    ['five words', "$head$good -\n", 2, 'four words'],
    ['CR LF', "$head$good\r\n", 2, "certificate's file"],
    ['a NUL', "${head}else.exam\0ple.com team/demo - -\n", 2, 'the host'],
    ['no host', "${head}- team/demo - -\n", 2, 'the host'],
    ['capitals', "${head}Else.example.com team/demo - -\n", 2, 'the host'],
    ['a dot at the end', "${head}else.example.com. team/demo - -\n", 2, 'the host'],
    ['two dots', "${head}else..com team/demo - -\n", 2, 'the host'],
    ['a dash in front', "${head}-else.com team/demo - -\n", 2, 'the host'],
    ['a star alone', "${head}* team/demo - -\n", 2, 'the host'],
    ['a star inside', "${head}a.*.com team/demo - -\n", 2, 'the host'],
    ['a long label', $head . 'x' x 64 . ".com team/demo - -\n", 2, 'the host'],
    ['a long host', $head . 'x.' x 126 . "xx team/demo - -\n", 2, 'the host'],
    ['no pool', "${head}else.com - - -\n", 2, 'the pool'],
    ['a pool without namespace', "${head}else.com demo - -\n", 2, 'the pool'],
    ['half a pool', "${head}else.com team/ - -\n", 2, 'the pool'],
    ['a long pool', "${head}else.com team/" . 'x' x 315 . " - -\n", 2, 'the pool'],
    ['a long architecture', "${head}else.com team/demo " . 'x' x 16 . " -\n", 2, 'architecture'],
    ['a path', "${head}else.com team/demo - ../../etc/ssl/key.pem\n", 2, "certificate's file"],
    ['a short name', "${head}else.com team/demo - " . substr($cert, 1) . "\n", 2, "certificate's file"],
    ['capital digits', "${head}else.com team/demo - " . 'A' x 64 . ".pem\n", 2, "certificate's file"],
    ['twice', "buildkit-names 1 2 -\n$good\n$good\n", 3, 'not in order'],
    ['not in order', "buildkit-names 1 2 -\nf.com a/b - -\ne.com a/b - -\n", 3, 'not in order'],
);
for (@bad) {
    my ($name, $text, $line, $why) = @$_;
    my $from = length $nginx->log;
    text($text);
    like(substr($nginx->log, $from), qr/\[error\].*"\S+\/names\/names" has a mistake in line $line: .*$why.*the names stay as they are/,
        "names, $name");
}
is(served('a', 'build.example.com'), 'a', 'the last good ones count');
like(told('a', 'else.example.com'), qr/no pool has the name/, 'and no other');
is(scalar(() = $nginx->log =~ /has a mistake/g), scalar @bad, 'each was told once');

for (['gone', sub { unlink "$dir/names" }, qr/cannot be looked at: they stay as they are \(2: No such file/],
    ['a FIFO', sub { $t->run('mkfifo', "$dir/names") }, qr/is not a file: they stay/],
    ['too large', sub { $t->write('large', $head . '#' x 8388608);
        rename $t->dir . '/large', "$dir/names" }, qr/is too large: they stay/])
{
    my ($name, $make, $said) = @$_;
    my $from = length $nginx->log;
    $make->();
    $t->wait_for(sub { substr($nginx->log, $from) =~ /\[error\].*names "\S+names"/ }, 10, $name);
    like(substr($nginx->log, $from), $said, "names: $name");
    is(served('a', 'build.example.com'), 'a', 'the names stay');
}
names('else.example.com team/demo - -');
is(served('a', 'else.example.com'), 'a', 'good again: taken');

# --- many

my @many = map { sprintf 'p%05d.example.com team/%s - %s', $_, $_ % 2 ? 'else' : 'demo',
    $_ % 100 ? '-' : $rsa } 0 .. 9999;
names(@many);
like($nginx->log, qr/10000 names in/, '10000 names');
is(served('a', $_), 'a', $_) for map { sprintf 'p%05d.example.com', $_ } 0, 5000, 9998;
is(subject('p00100.example.com'), 'rsa.example.com', 'with a certificate');
like(told('a', 'p09999.example.com'), qr/is the name of pool team\/else/, 'the last one');
like(told('a', 'p10000.example.com'), qr/no pool has the name/, 'one more');
text("buildkit-names 1 0 -\n");
like(told('a', 'p00000.example.com'), qr/no pool has the name p00000\.example\.com here; allocation/,
    'none at all');
is(served('a'), 'a', 'no name: served');

# --- a reload

names(map { s/\Q$first\E/$second/r } @lines);
$nginx->reload;
is(subject('rsa.example.com'), 'rsa.example.com', 'after a reload: certificates');
is(served('c', 'else.example.com'), 'c', 'names');
like(told('c', 'build.example.com'), qr/is of pool team\/else/, 'that narrow');
is($nginx->stop, 0, 'a good exit');

done_testing;
