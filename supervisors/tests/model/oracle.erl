%% Plays histories on Erlang's own supervisor. One history per line in, one line of observations out:
%%   {Strategy, Intensity, AutoShutdown, Template, Children, Operations}.
%% What is compared stands in beam.rs.
-module(oracle).
-behaviour(supervisor).
-export([main/0, init/1, start/1]).

main() ->
    process_flag(trap_exit, true),
    ets:new(modes, [named_table, public]),
    ets:new(pids, [named_table, public]),
    loop().

loop() ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, History} = erl_parse:parse_term(Tokens),
            io:put_chars([lists:join(";", play(History)), "\n"]),
            loop()
    end.

play({Strategy, Intensity, Auto, Template, Children, Operations}) ->
    ets:delete_all_objects(modes),
    ets:delete_all_objects(pids),
    [ets:insert(modes, {Id, Mode}) || {Id, _, _, _, Mode} <- Children],
    Flags = #{strategy => Strategy, intensity => Intensity, period => 1000000, auto_shutdown => Auto},
    Specs = case Strategy of
                simple_one_for_one -> [maps:put(start, {?MODULE, start, []}, spec(Template))];
                _ -> [spec(Child) || Child <- Children]
            end,
    case supervisor:start_link(?MODULE, {Flags, Specs}) of
        {ok, Sup} ->
            First = observe(Sup, Strategy, "ok"),
            [First | run(Operations ++ [stop], Sup, Strategy)];
        {error, Reason} ->
            receive {'EXIT', _, _} -> ok after 0 -> ok end,
            [died(Reason)]
    end.

init(Args) -> {ok, Args}.

spec({Id, Restart, Significant, Type, _Mode}) ->
    #{id => Id, start => {?MODULE, start, [Id]}, restart => Restart, significant => Significant,
      type => Type, shutdown => 1000}.

start(Id) ->
    Mode = case ets:lookup(modes, Id) of [{_, M}] -> M; [] -> ok end,
    case Mode of
        ignore -> ignore;
        forever -> timer:sleep(1), {error, told};
        {fail, N} when N > 0 -> ets:insert(modes, {Id, {fail, N - 1}}), {error, told};
        {raise, N} when N > 0 -> ets:insert(modes, {Id, {raise, N - 1}}), exit(told);
        _ ->
            Pid = spawn_link(fun() -> receive {die, Reason} -> exit(Reason) end end),
            ets:insert(pids, {Id, Pid}),
            {ok, Pid}
    end.

run([], _, _) -> [];
run([Operation | Rest], Sup, Strategy) ->
    Result = try perform(Operation, Sup, Strategy) catch exit:_ -> "gone" end,
    case observe(Sup, Strategy, Result) of
        "dead" ++ _ = Dead -> [Dead];
        Seen -> [Seen | run(Rest, Sup, Strategy)]
    end.

perform(stop, Sup, _) ->
    exit(Sup, shutdown),
    %% Until it is down: the observation reads the reason.
    Monitor = monitor(process, Sup),
    receive {'DOWN', Monitor, _, _, _} -> "ok" end;
perform({mode, Id, Mode}, _, _) ->
    ets:insert(modes, {Id, Mode}),
    "ok";
perform({exit, Id, Reason}, Sup, _) ->
    case alive(Id, Sup) of
        none -> "none";
        Pid ->
            Monitor = monitor(process, Pid),
            case Reason of
                kill -> exit(Pid, kill);
                _ -> Pid ! {die, Reason}
            end,
            receive {'DOWN', Monitor, _, _, _} -> ok end,
            until_noticed(Pid, Sup),
            "ok"
    end;
perform({start, {Id, _, _, _, Mode}}, Sup, simple_one_for_one) ->
    ets:insert(modes, {Id, Mode}),
    result(supervisor:start_child(Sup, [Id]));
perform({start, {Id, _, _, _, Mode} = Child}, Sup, _) ->
    case supervisor:get_childspec(Sup, Id) of
        {ok, _} -> keep;
        _ -> ets:insert(modes, {Id, Mode})
    end,
    result(supervisor:start_child(Sup, spec(Child)));
perform({terminate, Id}, Sup, simple_one_for_one) ->
    Restarting = [x || {_, restarting, _, _} <- supervisor:which_children(Sup)],
    case {alive(Id, Sup), Restarting} of
        {none, []} -> "not_found";
        _ -> [{_, Pid}] = ets:lookup(pids, Id), result(supervisor:terminate_child(Sup, Pid))
    end;
perform({terminate, Id}, Sup, _) -> result(supervisor:terminate_child(Sup, Id));
perform({restart, Id}, Sup, _) -> result(supervisor:restart_child(Sup, Id));
perform({delete, Id}, Sup, _) -> result(supervisor:delete_child(Sup, Id)).

alive(Id, Sup) ->
    Known = ets:lookup(pids, Id),
    Up = [Pid || {_, Pid, _, _} <- supervisor:which_children(Sup), is_pid(Pid)],
    case Known of
        [{_, Pid}] -> case lists:member(Pid, Up) of true -> Pid; false -> none end;
        [] -> none
    end.

%% The exit signal may still be on its way when the monitor has fired.
until_noticed(Dead, Sup) ->
    case [x || {_, Pid, _, _} <- supervisor:which_children(Sup), Pid =:= Dead] of
        [] -> ok;
        _ -> until_noticed(Dead, Sup)
    end.

result(ok) -> "ok";
result({ok, _}) -> "ok";
result({error, {already_started, _}}) -> "already_started";
result({error, already_present}) -> "already_present";
result({error, running}) -> "running";
result({error, restarting}) -> "restarting";
result({error, not_found}) -> "not_found";
result({error, simple_one_for_one}) -> "simple";
result({error, told}) -> "start_error";
result({error, {told, _}}) -> "start_error";
result({error, {'EXIT', told}}) -> "start_error";
result({error, {{'EXIT', told}, _}}) -> "start_error";
result({error, _}) -> "bad_spec".

%% Waits until nothing is being restarted any more, unless it always will be.
observe(Sup, Strategy, Result) ->
    try supervisor:which_children(Sup) of
        Children ->
            Restarting = [x || {_, restarting, _, _} <- Children],
            Forever = ets:match(modes, {'_', forever}),
            case {Restarting, Forever} of
                {[_ | _], []} -> observe(Sup, Strategy, Result);
                _ -> report(Children, supervisor:count_children(Sup), Strategy, Result)
            end
    catch exit:_ ->
        receive {'EXIT', Sup, Reason} -> died(Reason) end
    end.

report(Children, Counts, Strategy, Result) ->
    Names = [{Pid, Id} || {Id, Pid} <- ets:tab2list(pids)],
    Shown = lists:sort([show(Child, Names, Strategy) || Child <- Children]),
    Specs = case Strategy of
                simple_one_for_one -> "-";
                _ -> integer_to_list(proplists:get_value(specs, Counts))
            end,
    %% Terminating a dynamic child while it is restarting leaves Erlang's active count one too low.
    Numbers = case {Strategy, ets:match(modes, {'_', forever})} of
                  {simple_one_for_one, [_ | _]} -> ["-"];
                  _ -> [integer_to_list(proplists:get_value(Key, Counts))
                        || Key <- [active, supervisors, workers]]
              end,
    lists:flatten([Result, "|", lists:join(",", Shown), "|", lists:join("/", [Specs | Numbers])]).

show({Id, Pid, Type, _}, Names, Strategy) ->
    Name = case {Strategy, Pid} of
               {simple_one_for_one, restarting} -> "?";
               {simple_one_for_one, _} -> integer_to_list(proplists:get_value(Pid, Names));
               _ -> integer_to_list(Id)
           end,
    State = if is_pid(Pid) -> "up"; true -> atom_to_list(Pid) end,
    lists:flatten([Name, ":", State, ":", atom_to_list(Type)]).

died(shutdown) -> "dead shutdown";
died({shutdown, {failed_to_start_child, Id, _}}) -> "dead failed_to_start " ++ integer_to_list(Id);
died({start_spec, _}) -> "dead bad_spec";
died(Other) -> lists:flatten(io_lib:format("dead ~w", [Other])).
