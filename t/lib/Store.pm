package Store;

# The allocator with its journal in a store (t/plugins/store.c), which hosts
# may share; who asks is known by the plugin "who".

use strict;
use warnings;

use Exporter qw(import);
use JSON ();

use Access;
use Allocator qw(static_pool);

our @EXPORT = qw(store_host allocate lookup release renew kept control);

my $path = '/api/v1/workers';


# store_host($t, name => 'a', workers => N, ready => 'no', options => YAML,
#   order => 1 (the allocator first), more goes to Test::Buildkit's host)
sub store_host {
    my ($t, %opts) = @_;

    my $name = delete $opts{name} // 'a';
    my $api = $name eq 'a' ? 'api' : $name;
    my $static = static_pool($t, delete $opts{workers} // 2);
    my $ready = delete $opts{ready} // 'yes';
    my $options = join ', ', 'journal: store', delete $opts{options} // ();
    my @plugins = ("{name: store, options: {file: \"%%DIR%%/kept\", "
        . "ready: $ready}}", "{name: allocator, options: {$options}}");
    @plugins = reverse @plugins if delete $opts{order};

    return $t->host(<<"END", program => Access::program($t, 'store'),
state: %%DIR%%/state-$name
table: {path: "%%DIR%%/$name.table", allocations: 1000, workers: 64, pools: 16}
api: {listen: ["unix:%%DIR%%/$name.sock", "127.0.0.1:%%PORT:$api%%"]}
gateway: {endpoint: "tcp://localhost:%%PORT:gw%%"}
log: {level: debug, format: text}
access:
  rules:
    - {name: forks, match: [{claim: fork, values: ["yes"]}], untrusted: true}
    - {name: all, sources: [unix, who]}
plugins:
  - {name: who}
  - $plugins[0]
  - $plugins[1]
  - $static
END
        name => "host-$name", %opts);
}


sub allocate {
    my ($h, %body) = @_;

    return $h->request(POST => "$path/allocate",
        { poolName => 'demo', wait => '0', %body });
}

sub lookup { _token('lookup', @_) }
sub release { _token('release', @_) }
sub renew { _token('renew', @_) }

sub _token {
    my ($what, $h, $of, %more) = @_;

    return $h->request(POST => "$path/$what",
        { token => ref $of ? $of->{token} : $of, %more });
}


# What the store has of an allocation, or of all.
sub kept {
    my ($h, $of) = @_;

    my $rows = $h->request(GET => '/api/v1/store/rows')->{json}{rows};
    return @$rows if !$of;
    my ($row) = grep { !$_->{isWorker} && $_->{id} eq $of->{id} } @$rows;
    return $row // {};
}


sub control { $_[0]->request(POST => "/api/v1/store/$_[1]") }

1;
